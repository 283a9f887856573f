package parser

// The functions here step over JSON without building anything. They check the grammar of RFC 8259, as JSON.parse
// does; whether the text is UTF-8 is the caller's to check. They never recurse, so no input can exhaust the stack.

// skipValue returns the index behind the JSON value that starts at data[i]. outer arrays or objects are open already.
func skipValue(data []byte, i, outer int) (int, error) {
	if i < len(data) && (data[i] == '{' || data[i] == '[') {
		return skipContainer(data, i, outer)
	}
	return skipScalar(data, i)
}

func skipContainer(data []byte, i, outer int) (int, error) {
	var objects [MaxDepth / 64]uint64 // one bit for each open container: is it an object?
	depth := outer
	var err error
next:
	for {
		if i < len(data) && (data[i] == '{' || data[i] == '[') {
			if depth >= MaxDepth {
				return 0, ErrTooDeep
			}
			open := data[i]
			if bit := uint64(1) << (depth % 64); open == '{' {
				objects[depth/64] |= bit
			} else {
				objects[depth/64] &^= bit
			}
			depth++
			i = skipSpace(data, i+1)
			if i < len(data) && data[i] == open+2 { // in ASCII, a closing bracket is two behind its opening one
				depth--
				i++
			} else {
				if open == '{' {
					if i, err = skipKey(data, i); err != nil {
						return 0, err
					}
				}
				continue
			}
		} else if i, err = skipScalar(data, i); err != nil {
			return 0, err
		}

		for depth > outer { // behind a value
			i = skipSpace(data, i)
			if i >= len(data) {
				return 0, errJSON
			}
			object := objects[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			switch c := data[i]; {
			case c == ',':
				i = skipSpace(data, i+1)
				if object {
					if i, err = skipKey(data, i); err != nil {
						return 0, err
					}
				}
				continue next
			case c == '}' && object, c == ']' && !object:
				depth--
				i++
			default:
				return 0, errJSON
			}
		}
		return i, nil
	}
}

// skipKey steps over a key, its colon and the white space behind it.
func skipKey(data []byte, i int) (int, error) {
	if i >= len(data) || data[i] != '"' {
		return 0, errJSON
	}
	i, err := skipString(data, i)
	if err != nil {
		return 0, err
	}
	i = skipSpace(data, i)
	if i >= len(data) || data[i] != ':' {
		return 0, errJSON
	}
	return skipSpace(data, i+1), nil
}

func skipScalar(data []byte, i int) (int, error) {
	if i >= len(data) {
		return 0, errJSON
	}
	switch c := data[i]; {
	case c == '"':
		return skipString(data, i)
	case c == '-' || isDigit(c):
		return skipNumber(data, i)
	case c == 't':
		return skipLiteral(data, i, "true")
	case c == 'f':
		return skipLiteral(data, i, "false")
	case c == 'n':
		return skipLiteral(data, i, "null")
	}
	return 0, errJSON
}

func skipLiteral(data []byte, i int, literal string) (int, error) {
	end := i + len(literal)
	if end > len(data) || string(data[i:end]) != literal {
		return 0, errJSON
	}
	return end, nil
}

// special marks the bytes that cannot stand for themselves within a JSON string.
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

func skipString(data []byte, i int) (int, error) {
	for i++; i < len(data); i++ {
		if !special[data[i]] {
			continue
		}
		switch data[i] {
		case '"':
			return i + 1, nil
		case '\\':
			i++
			if i >= len(data) {
				return 0, errJSON
			}
			switch data[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(data) {
					return 0, errJSON
				}
				for range 4 {
					i++
					if !isHex(data[i]) {
						return 0, errJSON
					}
				}
			default:
				return 0, errJSON
			}
		default: // a control character
			return 0, errJSON
		}
	}
	return 0, errJSON
}

func skipNumber(data []byte, i int) (int, error) {
	if data[i] == '-' {
		i++
	}
	start := i
	i = skipDigits(data, i)
	if i == start || data[start] == '0' && i > start+1 {
		return 0, errJSON
	}
	if i < len(data) && data[i] == '.' {
		start = i + 1
		if i = skipDigits(data, start); i == start {
			return 0, errJSON
		}
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(data, start); i == start {
			return 0, errJSON
		}
	}
	return i, nil
}

func skipDigits(data []byte, i int) int {
	for i < len(data) && isDigit(data[i]) {
		i++
	}
	return i
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && isSpace(data[i]) {
		i++
	}
	return i
}

// trimSpace removes JSON's white space, which is less than what package bytes takes for white space.
func trimSpace(data []byte) []byte {
	data = data[skipSpace(data, 0):]
	for len(data) > 0 && isSpace(data[len(data)-1]) {
		data = data[:len(data)-1]
	}
	return data
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isDigit(c byte) bool { return c-'0' <= 9 }

func isHex(c byte) bool { return isDigit(c) || (c|0x20)-'a' <= 5 }
