package office

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// OpenToken reads the header and the claims of a token, which every holder can read.
func OpenToken(token string) (head, body map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("a token of %d parts", len(parts))
	}
	for i, v := range []*map[string]any{&head, &body} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return head, body, nil
}

func encoded(v any) (string, error) {
	b, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// SignToken makes a token of head and body with a signature over both.
func SignToken(head, body map[string]any, sign func(text string) ([]byte, error)) (string, error) {
	h, err := encoded(head)
	if err != nil {
		return "", err
	}
	b, err := encoded(body)
	if err != nil {
		return "", err
	}
	sum, err := sign(h + "." + b)
	return h + "." + b + "." + base64.RawURLEncoding.EncodeToString(sum), err
}
