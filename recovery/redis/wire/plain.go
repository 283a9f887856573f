package wire

import (
	"strings"
	"unicode/utf8"
)

// plainOptions reads the JSON of options as nearly all broadcasts have them: a list
// of rooms, one of exceptions, no flags, and names that need no escaping. Every
// node does this for every entry, and package json takes several times as long. It
// reports false, and leaves o as it is, for everything else.
func plainOptions(text string, o *Options) bool {
	rest, ok := strings.CutPrefix(text, `{"rooms":`)
	if !ok {
		return false
	}
	rooms, rest, ok := plainList(rest)
	if !ok {
		return false
	}
	if rest, ok = strings.CutPrefix(rest, `,"except":`); !ok {
		return false
	}
	except, rest, ok := plainList(rest)
	if !ok || rest != `,"flags":{}}` {
		return false
	}
	o.Rooms, o.Except = rooms, except
	return true
}

// plainList reads a JSON array of strings, and returns what follows it.
func plainList(text string) (list []string, rest string, ok bool) {
	if text == "" || text[0] != '[' {
		return nil, "", false
	}
	rest = text[1:]
	list = []string{}
	for {
		if len(list) == 0 && strings.HasPrefix(rest, "]") {
			return list, rest[1:], true
		}
		if rest == "" || rest[0] != '"' {
			return nil, "", false
		}
		end := strings.IndexByte(rest[1:], '"') + 1
		if end == 0 {
			return nil, "", false
		}
		name := rest[1:end]
		for i := range len(name) {
			if name[i] < ' ' || name[i] == '\\' {
				return nil, "", false
			}
		}
		if !utf8.ValidString(name) {
			return nil, "", false
		}
		list = append(list, strings.Clone(name)) // the whole text would live as long as it does
		rest = rest[end+1:]
		switch {
		case strings.HasPrefix(rest, "]"):
			return list, rest[1:], true
		case strings.HasPrefix(rest, ","):
			rest = rest[1:]
		default:
			return nil, "", false
		}
	}
}
