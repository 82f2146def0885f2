package wire

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/shared/form"
)

// Topic is one of ThingSpeak's MQTT topics:
//
//	channels/ID/publish                 fields and status as a form: field1=21.5&status=ok
//	channels/ID/publish/fields/fieldN   one bare value
//	channels/ID/subscribe               entries as JSON; with "/json", "/xml" or "/csv" behind it in that format
//	channels/ID/subscribe/fields/fieldN one field's values, bare
type Topic struct {
	Channel int64
	Publish bool
	Field   int    // 0: all
	format  string // of what is told of all fields; empty for what is published
}

// ErrTopic is a name that is none of them, wildcards included.
var ErrTopic = errors.New("thingspeak: no topic of a channel")

// maxTopic bounds a topic's name; the longest of ours has 60 bytes.
const maxTopic = 128

// TopicFormats are the formats in which a topic tells entries.
var TopicFormats = []string{"json", "xml", "csv"}

// ParseTopic reads the name of a topic. The error is [ErrTopic].
func ParseTopic(name string) (t Topic, err error) {
	part := strings.Split(name, "/")
	if len(name) > maxTopic || len(part) < 3 || part[0] != "channels" {
		return t, ErrTopic
	}
	id, ok := ParseID(part[1])
	if !ok {
		return t, ErrTopic
	}
	t.Channel = id
	switch part[2] {
	case "publish":
		t.Publish = true
	case "subscribe":
		t.format = "json"
	default:
		return t, ErrTopic
	}
	switch rest := part[3:]; {
	case len(rest) == 0:
		return t, nil
	case len(rest) == 1 && !t.Publish && slices.Contains(TopicFormats, rest[0]):
		t.format = rest[0]
		return t, nil
	case len(rest) == 2 && rest[0] == "fields" && len(rest[1]) == len("field1") && strings.HasPrefix(rest[1], "field"):
		if t.Field = int(rest[1][5]) - '0'; t.Field < 1 || t.Field > len(channel.Entry{}.Fields) {
			return Topic{}, ErrTopic
		}
		return t, nil
	}
	return Topic{}, ErrTopic
}

// Names are the topics that tell of a channel's entries, the bare one first and then one for each
// of formats; of one field it is one.
func (t Topic) Names() []string {
	base := "channels/" + strconv.FormatInt(t.Channel, 10) + "/subscribe"
	if t.Field != 0 {
		return []string{base + "/fields/field" + strconv.Itoa(t.Field)}
	}
	all := []string{base}
	for _, f := range TopicFormats {
		all = append(all, base+"/"+f)
	}
	return all
}

// ParsePayload makes parameters of a message, as if they had come to /update.
func ParsePayload(t Topic, payload []byte) (Parameters, error) {
	if len(payload) > MaxMessage {
		return nil, ErrTooLarge
	}
	if t.Field != 0 {
		return Parameters{"field" + strconv.Itoa(t.Field): form.Value(string(payload))}, nil
	}
	return parseForm(string(payload))
}
