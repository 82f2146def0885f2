package wire

import "errors"

// ErrTooLarge is a request with more than it may hold.
var ErrTooLarge = errors.New("thingspeak: too large")

// BadRequest is a mistake of the client that the text explains. It never repeats what the client
// sent.
type BadRequest struct{ Message string }

func (b *BadRequest) Error() string { return "thingspeak: " + b.Message }

// Bad is a mistake of the client with its explanation, a sentence.
func Bad(message string) error { return &BadRequest{message} }
