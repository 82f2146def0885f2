package store

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 200 // bytes of a name for people
	maxID   = 256 // bytes of an identity
)

// checkText refuses what could not be shown or would not fit.
func checkText(field, v string, low, high int) error {
	if len(v) < low || len(v) > high {
		return fmt.Errorf("%w: %s must be %d to %d bytes, not %d", ErrInvalid, field, low, high, len(v))
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, field)
	}
	for _, r := range v {
		// What turns the direction of writing makes a text read as another one.
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%w: %s contains a control character", ErrInvalid, field)
		}
	}
	return nil
}

// CheckDisplayName refuses, with ErrInvalid, a name of a person that the store would refuse.
func CheckDisplayName(name string) error { return checkText("display name", name, 0, maxName) }

// checkID accepts ids of wards, beds, persons and the like.
func checkID(field, v string) error {
	if len(v) < 1 || len(v) > 64 {
		return fmt.Errorf("%w: %s must be 1 to 64 bytes, not %d", ErrInvalid, field, len(v))
	}
	for _, r := range v {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_', r == '@':
		default:
			return fmt.Errorf("%w: %s may hold letters, digits and -._@ only", ErrInvalid, field)
		}
	}
	return nil
}

// checkIdentity accepts SPIFFE ids, which this package treats as opaque.
func checkIdentity(field, v string) error {
	if err := checkText(field, v, 1, maxID); err != nil {
		return err
	}
	for _, r := range v {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%w: %s may hold visible ASCII only", ErrInvalid, field)
		}
	}
	return nil
}

// checkAt keeps history out of the future, where it would silently change.
func (s *DB) checkAt(at time.Time) error {
	if at.IsZero() || at.Year() < 2000 || at.After(s.now().Add(s.cfg.MaxAhead)) {
		return fmt.Errorf("%w: the time must be after 2000 and not in the future", ErrInvalid)
	}
	return nil
}

// micro is how times are stored: microseconds since 1970.
func micro(t time.Time) int64 { return t.UnixMicro() }

func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromOptional(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return fromMicro(*us)
}

func toOptional(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := micro(t)
	return &us
}

// ForgottenName stands where a name was.
const ForgottenName = "(forgotten)"

// maxField is how many bytes a field of text may have.
const maxField = 255
