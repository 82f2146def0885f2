package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
)

// passwords: one's own new password is written over the one that was shown and over nothing else, however many change it at once; not
// over a reset, not for a disabled person.
func passwords(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "ada")
	const users = 8
	won := make([]bool, users)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			switch err := b.SwapPassword(ctx, id, "hash", fmt.Sprint("own ", i)); {
			case err == nil:
				won[i] = true
			case !errors.Is(err, access.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p, hash, err := b.PersonByLogin(ctx, "ada")
	must(t, err)
	n := 0
	for i, w := range won {
		if w {
			n++
		}
		if w != (hash == fmt.Sprint("own ", i)) {
			t.Errorf("won: %v, but the password is %q", won, hash)
		}
	}
	if n != 1 || p.MustChangePassword {
		t.Errorf("%d of %d changes at once were written; %+v", n, users, p)
	}
	must(t, b.SwapPassword(ctx, id, "what was there", hash)) // the same again, as after an answer that was lost
	must(t, b.SetPassword(ctx, id, "reset", true))
	is(t, b.SwapPassword(ctx, id, hash, "over a reset"), access.ErrConflict)
	must(t, b.SetPersonDisabled(ctx, id, true))
	is(t, b.SwapPassword(ctx, id, "reset", "of a disabled person"), access.ErrConflict)
	if p, hash, err = b.PersonByLogin(ctx, "ada"); err != nil || hash != "reset" || !p.MustChangePassword {
		t.Errorf("%q, %+v, %v", hash, p, err)
	}
	must(t, b.SetPersonDisabled(ctx, id, false))
	must(t, b.SwapPassword(ctx, id, "reset", "own"))
	if p, hash, err = b.PersonByLogin(ctx, "ada"); err != nil || hash != "own" || p.MustChangePassword {
		t.Errorf("%q, %+v, %v", hash, p, err)
	}
	is(t, b.SwapPassword(ctx, "nobody", "hash", "own"), access.ErrConflict)
	is(t, b.SwapPassword(ctx, id, "own", ""), store.ErrInvalid)
}

// factors: what a second factor's use changes is written over what was read and over nothing else, however many use it at once; one
// that is gone does not come back; new ones of a kind take the place of the old ones.
func factors(t *testing.T, b *bench) {
	ctx, id := t.Context(), b.person(t, "emmy")
	f := access.Factor{ID: "codes", PersonID: id, Kind: access.FactorRecovery, Name: "Recovery codes", Data: []byte("0"), Created: b.now}
	must(t, b.SaveFactor(ctx, f))
	const users = 8
	won := make([]bool, users)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			next := f
			next.Data, next.LastUsed = fmt.Append(nil, "used by ", i), b.now
			switch err := b.SwapFactor(ctx, f, next); {
			case err == nil:
				won[i] = true
			case !errors.Is(err, access.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := b.Factors(ctx, id)
	must(t, err)
	for i, w := range won {
		if len(all) != 1 || w != (string(all[0].Data) == fmt.Sprint("used by ", i)) {
			t.Fatalf("won: %v, but %d factors with %q", won, len(all), all[0].Data)
		}
	}
	if !all[0].LastUsed.Equal(b.now) || all[0].Name != f.Name {
		t.Errorf("%+v", all[0])
	}
	next := all[0]
	next.Data = []byte("2")
	must(t, b.SwapFactor(ctx, all[0], next))
	is(t, b.SwapFactor(ctx, all[0], next), access.ErrConflict)
	other := next
	other.PersonID = b.person(t, "lise")
	is(t, b.SwapFactor(ctx, other, other), access.ErrConflict)

	passkey := access.Factor{ID: "key", PersonID: id, Kind: access.FactorPasskey, Data: []byte("p"), Created: b.now}
	must(t, b.SaveFactor(ctx, passkey))
	for i := range users { // each takes the place of all before
		wg.Go(func() {
			n := f
			n.ID = fmt.Sprint("new-", i)
			if err := b.ReplaceFactors(ctx, n); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err = b.Factors(ctx, id); err != nil || len(all) != 2 {
		t.Errorf("%d factors after %d replacements, %v", len(all), users, err)
	}
	is(t, b.SwapFactor(ctx, next, next), access.ErrConflict)
	must(t, b.DeleteFactor(ctx, id, passkey.ID))
	is(t, b.SwapFactor(ctx, passkey, passkey), access.ErrConflict)
	large := passkey
	large.Data = make([]byte, 1<<20)
	is(t, b.SwapFactor(ctx, passkey, large), store.ErrInvalid)
}
