package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// member is where the keys are in a secret that is a JSON object, as the AWS console makes them.
const member = "api_key"

// parseKeys takes a secret's text apart: keys separated by commas or white space, of which there may be several while
// one replaces the other; or a JSON object whose member api_key is such a text, or a list of them.
func parseKeys(text string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var err error
		if text, err = memberText(text); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrContent, err)
		}
	}
	keys := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrContent)
	}
	for i, key := range keys {
		for j := range len(key) {
			if key[j] <= ' ' || key[j] > '~' {
				return nil, fmt.Errorf("%w: key %d of %d has something other than visible ASCII characters", ErrContent, i+1, len(keys))
			}
		}
	}
	return keys, nil
}

func memberText(text string) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		// The error of json quotes what it found.
		return "", errors.New("it begins like a JSON object and is none")
	}
	raw, ok := object[member]
	if !ok {
		return "", fmt.Errorf("it is a JSON object without %q", member)
	}
	var one string
	var list []string
	switch {
	case bytes.Equal(raw, []byte("null")):
	case json.Unmarshal(raw, &one) == nil:
		return one, nil
	case json.Unmarshal(raw, &list) == nil:
		return strings.Join(list, ","), nil
	}
	return "", fmt.Errorf("its member %q is neither a string nor a list of strings", member)
}
