package sealdb

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// The longest texts.
const (
	MaxName = 200 // bytes of a name for people
	MaxID   = 256 // bytes of an identity
)

// CheckText refuses what could not be shown or would not fit.
func CheckText(field, v string, low, high int) error {
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
func CheckDisplayName(name string) error { return CheckText("display name", name, 0, MaxName) }

// CheckID accepts ids of wards, beds, persons and the like.
func CheckID(field, v string) error {
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

// CheckIdentity accepts SPIFFE ids, which this package treats as opaque.
func CheckIdentity(field, v string) error {
	if err := CheckText(field, v, 1, MaxID); err != nil {
		return err
	}
	for _, r := range v {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%w: %s may hold visible ASCII only", ErrInvalid, field)
		}
	}
	return nil
}

// CheckAt keeps history out of the future, where it would silently change.
func (s *DB) CheckAt(at time.Time) error {
	if at.IsZero() || at.Year() < 2000 || at.After(s.Now().Add(s.cfg.MaxAhead)) {
		return fmt.Errorf("%w: the time must be after 2000 and not in the future", ErrInvalid)
	}
	return nil
}

// Micro is how times are stored: microseconds since 1970.
func Micro(t time.Time) int64 { return t.UnixMicro() }

// FromMicro is the time of so many µs since 1970, in UTC.
func FromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

// FromOptional is FromMicro; nil is the zero time.
func FromOptional(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return FromMicro(*us)
}

// ToOptional is Micro; the zero time is nil.
func ToOptional(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := Micro(t)
	return &us
}

// ForgottenName stands where a name was.
const ForgottenName = "(forgotten)"

// MaxField is how many bytes a field of text may have.
const MaxField = 255
