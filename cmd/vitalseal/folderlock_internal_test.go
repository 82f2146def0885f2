package main

import (
	"strings"
	"testing"
)

// TestHoldFolder: a second connect on a folder is refused before it changes anything, and may begin when the first has ended.
func TestHoldFolder(t *testing.T) {
	dir := t.TempDir()
	release, err := holdFolder(dir, serviceFaces)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holdFolder(dir, serviceFaces); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one: %v", err)
	}
	other, err := holdFolder(dir, serviceThingSpeak)
	if err != nil {
		t.Errorf("another service of the folder: %v", err)
	} else {
		other()
	}
	release()
	again, err := holdFolder(dir, serviceFaces)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again()
}
