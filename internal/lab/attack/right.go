package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Seen is one refusal as it was observed. Exactly one field says how; the zero Seen is no refusal.
type Seen struct {
	Status int    // of an HTTP answer
	Err    error  // of a call in this process, or the end of a connection
	Word   string // of another protocol: an outcome with its reason, a code; or what was counted
}

// Status are the refusals of HTTP answers.
func Status(answers ...Answer) (out []Seen) {
	for _, a := range answers {
		out = append(out, Seen{Status: a.Status})
	}
	return out
}

// Failure are the refusals of calls. A nil error is no refusal, which no [Right] accepts.
func Failure(errs ...error) (out []Seen) {
	for _, err := range errs {
		out = append(out, Seen{Err: err})
	}
	return out
}

// Word is a refusal in the words of its protocol, or what was counted.
func Word(format string, args ...any) []Seen { return []Seen{{Word: fmt.Sprintf(format, args...)}} }

func (s Seen) String() string {
	switch {
	case s.Status != 0:
		return fmt.Sprint(s.Status)
	case s.Err != nil:
		return Clip(s.Err.Error())
	case s.Word != "":
		return s.Word
	}
	return "no refusal"
}

// wrong is another refusal of the same form, for the self-test: an answer, an error or a word that
// refuses as well, for a reason that no attack is refused for.
func (s Seen) wrong() Seen {
	switch {
	case s.Status != 0:
		return Seen{Status: 503}
	case s.Err != nil:
		return Seen{Err: fmt.Errorf("attack: self-test: %w", context.DeadlineExceeded)}
	}
	return Seen{Word: "self-test"}
}

// Right is what an attack must be refused with. The zero Right accepts nothing.
type Right struct {
	text string
	is   func(Seen) bool
}

func (r Right) String() string { return r.text }

// Named reports whether r says what it accepts, and accepts something.
func (r Right) Named() bool { return r.is != nil && r.text != "" }

// Accepts reports whether a refusal is the right one.
func (r Right) Accepts(s Seen) bool { return r.is != nil && r.is(s) }

// Answers is right for one of a few HTTP statuses.
func Answers(statuses ...int) Right {
	return Right{strings.Trim(strings.ReplaceAll(fmt.Sprint(statuses), " ", " or "), "[]"), func(s Seen) bool { return slices.Contains(statuses, s.Status) }}
}

// Fails is right for an error that is, or wraps, the given one.
func Fails(with error) Right {
	return Right{with.Error(), func(s Seen) bool { return s.Err != nil && errors.Is(s.Err, with) }}
}

// Says is right for an error whose text holds the given one: for errors that come from another
// process, or from a library that has no name for them.
func Says(text string) Right {
	return Right{fmt.Sprintf("an error that says %q", text), func(s Seen) bool { return s.Err != nil && strings.Contains(s.Err.Error(), text) }}
}

// Reads is right for exactly one of a few words.
func Reads(words ...string) Right {
	return Right{strings.Join(words, " or "), func(s Seen) bool { return s.Word != "" && slices.Contains(words, s.Word) }}
}

// Or is right for what either accepts. Each of the two must be a right refusal of its own, at a
// place of its own.
func (r Right) Or(other Right) Right {
	return Right{r.text + ", or " + other.text, func(s Seen) bool { return r.Accepts(s) || other.Accepts(s) }}
}

// wrongly says which of the refusals is not the right one, and reports whether there is one. A
// result without any refusal is wrong: nothing shows that the attack met a defence.
func (r Right) wrongly(seen []Seen) (string, bool) {
	if len(seen) == 0 {
		return "no refusal was seen", true
	}
	for _, s := range seen {
		if !r.Accepts(s) {
			return fmt.Sprintf("refused with %s instead of %s", s, r), true
		}
	}
	return "", false
}
