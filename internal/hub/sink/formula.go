package sink

import (
	"regexp"
	"strings"
)

var plainNumber = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// asWritten is a value of which a CSV export of ours made a cell. It takes off the apostrophe that
// keeps spreadsheets from computing a text; package thingspeak puts it there.
func asWritten(cell string) string {
	rest := strings.TrimLeft(cell, "'")
	if rest == cell || rest == "" || !strings.ContainsRune("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", []rune(rest)[0]) {
		return cell
	}
	if value := cell[1:]; !plainNumber.MatchString(value) {
		return value
	}
	return cell // an apostrophe before a number is none of ours
}
