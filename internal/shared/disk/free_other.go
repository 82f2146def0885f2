//go:build !linux

package disk

func free(string) (int64, bool) { return 0, false }
