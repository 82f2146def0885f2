//go:build weaken

package signin

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"vitalseal/internal/access"
)

// unverified believes whatever a token says, as a verifier does that trusts the token's own header.
func unverified(token string) (c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, access.ErrNoSession
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &c) != nil {
		return c, access.ErrNoSession
	}
	return c, nil
}
