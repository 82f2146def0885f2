//go:build !weaken

package weaken

// Build tells whether this binary is a weakened one.
const Build = false

// Skip reports whether a defence is taken away. In the product none ever is.
func Skip(Defence) bool { return false }

// Set is for the weakened build alone; in the product it does nothing.
func Set(...Defence) error { return nil }

// Share is for the weakened build alone; in the product it does nothing.
func Share(string) error { return nil }
