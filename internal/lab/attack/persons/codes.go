package persons

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// hubsAtOnce is a directory as two hubs have it that both read what is there before either writes.
type hubsAtOnce struct {
	*store.Store

	mu   sync.Mutex
	n    int
	both chan struct{}
}

// meet waits for the other hub, once.
func (d *hubsAtOnce) meet(ctx context.Context) error {
	d.mu.Lock()
	d.n++
	if d.n == 2 {
		close(d.both)
	}
	d.mu.Unlock()
	select {
	case <-d.both:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *hubsAtOnce) SaveFactor(ctx context.Context, f access.Factor) error {
	if err := d.meet(ctx); err != nil {
		return err
	}
	return d.Store.SaveFactor(ctx, f)
}

func (d *hubsAtOnce) SwapFactor(ctx context.Context, was, now access.Factor) error {
	if err := d.meet(ctx); err != nil {
		return err
	}
	return d.Store.SwapFactor(ctx, was, now)
}

// Codes are the attacks on second factors and passwords that two hubs judge at once.
func Codes() []attack.Attack {
	return []attack.Attack{
		office.InBureau(attack.Attack{ID: "persons-code-two-hubs", Threat: "use a one-time code that was looked at", Position: "a colleague who saw the password and the code",
			Does: "shows the code at another hub in the same moment as its owner", Expected: "one of the two sign-ins is refused", Right: attack.Fails(signin.ErrSignIn), Control: weaken.FactorSwap}, codeAtTwoHubs),
		office.InBureau(attack.Attack{ID: "persons-password-over-reset", Threat: "keep a password that was taken away", Position: "an attacker who learnt a doctor's password and has a session with it",
			Does: "changes the password at one hub while an administrator resets it at another", Expected: "the reset stands", Right: attack.Fails(signin.ErrPasswordChanged), Control: weaken.PasswordSwap}, passwordOverReset),
	}
}

func codeAtTwoHubs(ctx context.Context, o *office.Bureau) (attack.Result, error) {
	const password = "correct horse battery"
	hash, err := o.SignIn.HashPassword(ctx, password)
	if err != nil {
		return attack.Result{}, err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Vitalseal", AccountName: "doctor"})
	if err != nil {
		return attack.Result{}, err
	}
	app, err := json.Marshal(map[string]any{"secret": key.Secret(), "confirmed": true, "step": 0})
	if err != nil {
		return attack.Result{}, err
	}
	if err := errors.Join(o.Store.SetPassword(ctx, "doctor", hash, false),
		o.Store.SaveFactor(ctx, access.Factor{ID: "app", PersonID: "doctor", Kind: access.FactorTOTP, Name: "App", Data: app, Created: time.Now()})); err != nil {
		return attack.Result{}, err
	}
	code, err := totp.GenerateCode(key.Secret(), time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	dir := &hubsAtOnce{Store: o.Store, both: make(chan struct{})}
	var hubs [2]*signin.Service
	var asked [2]string
	for i := range hubs {
		if hubs[i], err = signin.New(o.Engine, dir, attack.Quiet); err != nil {
			return attack.Result{}, err
		}
		in, err := hubs[i].SignIn(ctx, "doctor", password, office.BureauDesk)
		if err != nil || in.Pending == nil {
			return attack.Result{}, errors.Join(errors.New("attack: no second factor was asked for"), err)
		}
		asked[i] = in.Pending.ID
	}
	var got [2]error
	var wg sync.WaitGroup
	for i, hub := range hubs {
		wg.Go(func() {
			_, got[i] = hub.SecondFactor(ctx, signin.Proof{Pending: asked[i], TOTP: code}, office.BureauDesk)
		})
	}
	wg.Wait()
	switch {
	case got[0] == nil && got[1] == nil:
		return attack.Through("signed in at both hubs", "the code counted twice")
	case got[0] != nil && got[1] != nil:
		return attack.Result{}, errors.Join(got[0], got[1])
	case got[0] != nil:
		return attack.RefusedWith(attack.Failure(got[0]), "it counts once", "%v", got[0])
	}
	return attack.RefusedWith(attack.Failure(got[1]), "it counts once", "%v", got[1])
}

// resetMeanwhile is a directory in which an administrator resets the password just before a
// person's own new one is written.
type resetMeanwhile struct {
	*store.Store

	reset func(context.Context) error
}

func (d *resetMeanwhile) SetPassword(ctx context.Context, person, hash string, oneTime bool) error {
	if err := d.reset(ctx); err != nil {
		return err
	}
	return d.Store.SetPassword(ctx, person, hash, oneTime)
}

func (d *resetMeanwhile) SwapPassword(ctx context.Context, person, was, hash string) error {
	if err := d.reset(ctx); err != nil {
		return err
	}
	return d.Store.SwapPassword(ctx, person, was, hash)
}

func passwordOverReset(ctx context.Context, o *office.Bureau) (attack.Result, error) {
	const learnt, chosen = "correct horse battery", "chosen by the thief"
	hash, err := o.SignIn.HashPassword(ctx, learnt)
	if err != nil {
		return attack.Result{}, err
	}
	if err := o.Store.SetPassword(ctx, "doctor", hash, false); err != nil {
		return attack.Result{}, err
	}
	dir := &resetMeanwhile{Store: o.Store, reset: func(ctx context.Context) error {
		_, err := o.SignIn.OneTimePassword(ctx, "doctor")
		return err
	}}
	hub, err := signin.New(o.Engine, dir, attack.Quiet)
	if err != nil {
		return attack.Result{}, err
	}
	in, err := hub.SignIn(ctx, "doctor", learnt, office.BureauDesk)
	if err != nil {
		return attack.Result{}, err
	}
	changed := hub.ChangePassword(ctx, in.Subject, learnt, chosen)
	_, err = o.SignIn.SignIn(ctx, "doctor", chosen, office.BureauDesk)
	switch {
	case err == nil:
		return attack.Through("signed in with it after the reset", "the thief's password stands, and not the administrator's")
	case !errors.Is(err, signin.ErrSignIn):
		return attack.Result{}, err
	}
	return attack.RefusedWith(attack.Failure(changed), "the reset stands", "%v", changed)
}
