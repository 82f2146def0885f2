package thingspeak

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"vitalseal/internal/channel"
	"vitalseal/internal/form"
)

// topic is one of ThingSpeak's MQTT topics:
//
//	channels/ID/publish                 fields and status as a form: field1=21.5&status=ok
//	channels/ID/publish/fields/fieldN   one bare value
//	channels/ID/subscribe               entries as JSON; with "/json", "/xml" or "/csv" behind it in that format
//	channels/ID/subscribe/fields/fieldN one field's values, bare
type topic struct {
	channel int64
	publish bool
	field   int    // 0: all
	format  string // of what is told of all fields; empty for what is published
}

// errTopic is a name that is none of them, wildcards included.
var errTopic = errors.New("thingspeak: no topic of a channel")

// maxTopic bounds a topic's name; the longest of ours has 60 bytes.
const maxTopic = 128

// formats are those in which entries are told.
var formats = []string{"json", "xml", "csv"}

func parseTopic(name string) (t topic, err error) {
	part := strings.Split(name, "/")
	if len(name) > maxTopic || len(part) < 3 || part[0] != "channels" {
		return t, errTopic
	}
	if t.channel, err = number(part[1]); err != nil {
		return t, errTopic
	}
	switch part[2] {
	case "publish":
		t.publish = true
	case "subscribe":
		t.format = "json"
	default:
		return t, errTopic
	}
	switch rest := part[3:]; {
	case len(rest) == 0:
		return t, nil
	case len(rest) == 1 && !t.publish && slices.Contains(formats, rest[0]):
		t.format = rest[0]
		return t, nil
	case len(rest) == 2 && rest[0] == "fields" && len(rest[1]) == len("field1") && strings.HasPrefix(rest[1], "field"):
		if t.field = int(rest[1][5]) - '0'; t.field < 1 || t.field > len(channel.Entry{}.Fields) {
			return topic{}, errTopic
		}
		return t, nil
	}
	return topic{}, errTopic
}

// names are the topics that tell of a channel's entries, the bare one first and then one for each of formats; of one field it is one.
func (t topic) names() []string {
	base := "channels/" + strconv.FormatInt(t.channel, 10) + "/subscribe"
	if t.field != 0 {
		return []string{base + "/fields/field" + strconv.Itoa(t.field)}
	}
	all := []string{base}
	for _, f := range formats {
		all = append(all, base+"/"+f)
	}
	return all
}

// parsePayload makes parameters of a message, as if they had come to /update.
func parsePayload(t topic, payload []byte) (parameters, error) {
	if len(payload) > maxMessage {
		return nil, errTooLarge
	}
	if t.field != 0 {
		return parameters{"field" + strconv.Itoa(t.field): form.Value(string(payload))}, nil
	}
	return parseForm(string(payload))
}
