//go:build !weaken

package weaken

// Folder is for the weakened build alone; in the product it is empty.
func Folder() string { return "" }
