//go:build !weaken

package main

import "github.com/spf13/cobra"

// benchCost is in the test build alone: the product has nothing that could be switched off.
func benchCost() []*cobra.Command { return nil }
