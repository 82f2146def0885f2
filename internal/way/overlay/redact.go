package overlay

import "regexp"

// Secrets that OpenZiti puts into its messages: tokens signed or not, keys, session ids (UUIDs and
// its own cuids).
var secrets = regexp.MustCompile(`(?s)-----BEGIN .*?(?:-----END [^-]*-----|$)` +
	`|eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}` +
	`|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b` +
	`|\bc[a-z0-9]{24}\b`)

// labelled are values that follow a telling name.
var labelled = regexp.MustCompile(`(?i)((?:token|session|password|passwd|secret|jwt|authorization|bearer)[a-z_]*\\?["']?\s*[:=\[]+\s*\\?["']?)[^\s"'\]},]+`)

// maxLogLine bounds what Redact returns.
const maxLogLine = 1000

// Redact removes from a log line of OpenZiti what must not be logged, and shortens it. It errs on
// the side of removing.
func Redact(line string) string {
	if len(line) > 4*maxLogLine {
		line = line[:4*maxLogLine]
	}
	line = secrets.ReplaceAllString(line, "[redacted]")
	line = labelled.ReplaceAllString(line, "${1}[redacted]")
	return shorten(line, maxLogLine)
}
