package wire

import (
	"bytes"
	"unicode/utf8"
)

// appendPlain writes what plainOptions reads. It reports false for everything else.
func appendPlain(dst []byte, o *Options) ([]byte, bool) {
	if o.Flags != (Flags{}) {
		return nil, false
	}
	dst = append(dst, `{"rooms":`...)
	dst, ok := appendPlainList(dst, o.Rooms)
	if !ok {
		return nil, false
	}
	dst = append(dst, `,"except":`...)
	if dst, ok = appendPlainList(dst, o.Except); !ok {
		return nil, false
	}
	return append(dst, `,"flags":{}}`...), true
}

func appendPlainList(dst []byte, names []string) ([]byte, bool) {
	dst = append(dst, '[')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		for j := range len(name) {
			if name[j] < ' ' || name[j] == '\\' || name[j] == '"' {
				return nil, false
			}
		}
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"')
	}
	return append(dst, ']'), true
}

// size is about how long the JSON of the options is.
func (o *Options) size() int {
	n := len(`{"rooms":[],"except":[],"flags":{}}`)
	for _, names := range [][]string{o.Rooms, o.Except} {
		for _, name := range names {
			n += len(name) + len(`"",`)
		}
	}
	return n
}

// plainOptions reads the JSON of options as nearly all broadcasts have them: a list
// of rooms, one of exceptions, no flags, and names that need no escaping. Every
// node does this for every entry, and package json takes several times as long. It
// reports false, and leaves o as it is, for everything else.
func plainOptions(text []byte, o *Options) bool {
	rest, ok := bytes.CutPrefix(text, []byte(`{"rooms":`))
	if !ok {
		return false
	}
	rooms, rest, ok := plainList(rest)
	if !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"except":`)); !ok {
		return false
	}
	except, rest, ok := plainList(rest)
	if !ok || string(rest) != `,"flags":{}}` {
		return false
	}
	o.Rooms, o.Except = rooms, except
	return true
}

// plainList reads a JSON array of strings, and returns what follows it.
func plainList(text []byte) (list []string, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '[' {
		return nil, nil, false
	}
	rest = text[1:]
	list = []string{}
	for {
		if len(list) == 0 && bytes.HasPrefix(rest, []byte("]")) {
			return list, rest[1:], true
		}
		if len(rest) == 0 || rest[0] != '"' {
			return nil, nil, false
		}
		end := bytes.IndexByte(rest[1:], '"') + 1
		if end == 0 {
			return nil, nil, false
		}
		name := rest[1:end]
		for i := range len(name) {
			if name[i] < ' ' || name[i] == '\\' {
				return nil, nil, false
			}
		}
		if !utf8.Valid(name) {
			return nil, nil, false
		}
		list = append(list, string(name))
		rest = rest[end+1:]
		switch {
		case bytes.HasPrefix(rest, []byte("]")):
			return list, rest[1:], true
		case bytes.HasPrefix(rest, []byte(",")):
			rest = rest[1:]
		default:
			return nil, nil, false
		}
	}
}
