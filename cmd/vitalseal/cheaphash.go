//go:build cheaphash

package main

// The tag is for tests alone, see internal/hub/access/cost_cheap.go: this file does not compile.
var _ = cheapPasswordHashesAreForTestsAlone
