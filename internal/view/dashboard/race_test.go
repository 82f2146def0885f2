//go:build race

package dashboard_test

func init() { underRace = true }
