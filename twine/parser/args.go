package parser

import (
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"
)

// SplitArgs returns the elements of a raw JSON array. They are subslices of data, without surrounding white space. The
// array is validated fully; errors match [ErrMalformed]. The result of an empty array is empty.
func SplitArgs(data []byte) ([][]byte, error) {
	args := make([][]byte, 0, 4)
	if err := eachArg(data, func(arg []byte) { args = append(args, arg) }); err != nil {
		return nil, err
	}
	return args, nil
}

// CountArgs returns how many elements SplitArgs would, and its error. It allocates nothing.
func CountArgs(data []byte) (n int, err error) {
	err = eachArg(data, func([]byte) { n++ })
	return n, err
}

// eachArg calls f with each element of a raw JSON array.
func eachArg(data []byte, f func(arg []byte)) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return errJSON
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == ']' {
		if skipSpace(data, i+1) != len(data) {
			return errJSON
		}
		return nil
	}
	for {
		end, err := skipValue(data, i, 1)
		if err != nil {
			return err
		}
		f(data[i:end:end])
		i = skipSpace(data, end)
		if i >= len(data) {
			return errJSON
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case ']':
			if skipSpace(data, i+1) != len(data) {
				return errJSON
			}
			return nil
		default:
			return errJSON
		}
	}
}

// DecodeArg unmarshals one argument of a packet, as [SplitArgs] returned it, into the value that v points to.
// attachments are those of its packet. Without attachments it is [json.Unmarshal].
//
// Where the argument has binary values, a *[]byte gets the attachment itself, not a copy: do not modify it if others
// share the packet. A *any, *map[string]any or *[]any gets a tree with []byte leaves, not copied either. In any other
// type, []byte fields are filled with copies; a field of type any, which cannot tell, gets the base64 form of the value.
//
// A placeholder without its attachment is an error that matches [ErrMalformed]; other errors are those of package json.
func DecodeArg(raw []byte, attachments [][]byte, v any) error {
	if len(attachments) == 0 {
		return json.Unmarshal(raw, v)
	}
	if len(attachments) > MaxAttachments {
		return ErrTooManyAttachments
	}
	raw = trimSpace(raw)
	if err := checkJSON(raw, 0); err != nil {
		return err
	}
	found := findPlaceholders(raw)
	if len(found) == 0 {
		return json.Unmarshal(raw, v)
	}
	if err := checkFound(found, len(attachments)); err != nil {
		return err
	}

	switch v := v.(type) {
	case *[]byte:
		if v != nil && found[0].start == 0 {
			*v = attachments[found[0].num]
			return nil
		}
	case *any:
		if v != nil {
			return decodeTree(raw, attachments, v)
		}
	case *map[string]any:
		if v != nil && found[0].start > 0 {
			return decodeTree(raw, attachments, v)
		}
	case *[]any:
		if v != nil {
			return decodeTree(raw, attachments, v)
		}
	}
	return json.Unmarshal(inlined(raw, found, attachments), v)
}

func decodeTree[T any](raw []byte, attachments [][]byte, v *T) error {
	var tree T
	if err := json.Unmarshal(raw, &tree); err != nil {
		return err
	}
	if restored, ok := withAttachments(tree, attachments).(T); ok {
		*v = restored
	}
	return nil
}

// withAttachments puts the attachments in the place of their placeholders, which have been checked.
func withAttachments(tree any, attachments [][]byte) any {
	switch tree := tree.(type) {
	case map[string]any:
		if tree[placeholderKey] == true {
			if num, ok := tree[numKey].(float64); ok && num >= 0 && int(num) < len(attachments) {
				return attachments[int(num)]
			}
		}
		for key, value := range tree {
			tree[key] = withAttachments(value, attachments)
		}
	case []any:
		for i, value := range tree {
			tree[i] = withAttachments(value, attachments)
		}
	}
	return tree
}

// inlined returns raw with base64 strings in the place of the placeholders, which is how package json reads a []byte.
func inlined(raw []byte, found []placeholder, attachments [][]byte) []byte {
	size := len(raw)
	for _, p := range found {
		size += base64.StdEncoding.EncodedLen(len(attachments[p.num])) + 2
	}
	out := make([]byte, 0, size)
	behind := 0
	for _, p := range found {
		out = append(out, raw[behind:p.start]...)
		out = append(out, '"')
		out = base64.StdEncoding.AppendEncode(out, attachments[p.num])
		out = append(out, '"')
		behind = p.end
	}
	return append(out, raw[behind:]...)
}

// EachMember calls f with the name, quotes and escapes included, and the value of each member of a raw JSON object, in
// their order, until f returns false. Both are subslices of data, without surrounding white space. It reports whether f
// never did, and data is one object and nothing else. That data is UTF-8 is the caller's to check.
func EachMember(data []byte, f func(name, value []byte) bool) bool {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return false
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return skipSpace(data, i+1) == len(data)
	}
	for {
		start := i
		if i >= len(data) || data[i] != '"' {
			return false
		}
		var err error
		if i, err = skipString(data, i); err != nil {
			return false
		}
		name := data[start:i:i]
		if i = skipSpace(data, i); i >= len(data) || data[i] != ':' {
			return false
		}
		start = skipSpace(data, i+1)
		if i, err = skipValue(data, start, 1); err != nil {
			return false
		}
		if !f(name, data[start:i:i]) {
			return false
		}
		if i = skipSpace(data, i); i >= len(data) {
			return false
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case '}':
			return skipSpace(data, i+1) == len(data)
		default:
			return false
		}
	}
}
