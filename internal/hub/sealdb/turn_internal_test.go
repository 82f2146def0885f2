package sealdb

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// TestUrgentGoesFirst: a call that takes rights away goes ahead of all that wait, and those that wait are served in their order, in the
// end also while there is always someone who goes ahead.
func TestUrgentGoesFirst(t *testing.T) {
	var turns Turns
	if err := turns.Take(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	order := make(chan int, 64)
	wait := func(n int, urgent bool) {
		before := turns.waiting()
		go func() {
			if err := turns.Take(t.Context(), urgent); err == nil {
				order <- n
				turns.Give()
			}
		}()
		for turns.waiting() == before {
		}
	}
	wait(1, false)
	wait(2, false)
	var want []int
	for i := range urgentInRow + 2 {
		wait(10+i, true)
		want = append(want, 10+i)
	}
	want = slices.Insert(want, urgentInRow, 1)
	want = append(want, 2)
	gone, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	before := turns.waiting()
	go func() { left <- turns.Take(gone, true) }()
	for turns.waiting() == before {
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone: %v", err)
	}
	turns.Give()
	var got []int
	for range want {
		got = append(got, <-order)
	}
	if !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}
