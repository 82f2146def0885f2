//go:build !weaken

package weaken

// Build tells whether this binary is a weakened one.
const Build = false

// Set is for the weakened build alone; elsewhere it does nothing.
func Set(...Defence) error { return nil }

// Share is for the weakened build alone; elsewhere it does nothing.
func Share(string) error { return nil }
