package msgpack

import (
	"encoding/json"
	"strconv"

	"github.com/twine-realtime/twine/twine/parser"
)

// MessagePack wants to know how many elements follow, which JSON tells at the end only. So the arrays and objects are
// counted first.

// container is an array or object of a JSON text.
type container struct {
	elements   int
	inner      int // the containers within
	end        int // the index behind it
	attachment int // the attachment that it stands for, or noAttachment, or badAttachment
}

const (
	noAttachment  = -1
	badAttachment = -2
)

// outliner lists the containers of a valid JSON value in the order in which they start. It recurses at most
// parser.MaxDepth times, because validation went before.
type outliner struct {
	json         []byte
	placeholders bool // objects may stand for attachments
	i            int
	containers   []container
}

func (o *outliner) value() {
	o.space()
	switch c := o.json[o.i]; c {
	case '{', '[':
		o.container(c)
	case '"':
		o.i = skipString(o.json, o.i)
	case 't', 'n':
		o.i += len("true")
	case 'f':
		o.i += len("false")
	default:
		o.i = skipNumber(o.json, o.i)
	}
	o.space()
}

func (o *outliner) space() { o.i = skipSpace(o.json, o.i) }

func (o *outliner) container(open byte) {
	at := len(o.containers)
	o.containers = append(o.containers, container{})
	elements, is, num := 0, false, badAttachment
	o.i++
	o.space()
	for c := o.json[o.i]; c != '}' && c != ']'; c = o.json[o.i] {
		if c == ',' {
			o.i++
			o.space()
		}
		elements++
		if open == '[' {
			o.value()
			continue
		}
		start := o.i
		o.i = skipString(o.json, o.i)
		key := o.json[start:o.i]
		o.space()
		o.i++ // the colon
		o.space()
		start = o.i
		o.value()
		if o.placeholders {
			switch value := trimSpace(o.json[start:o.i]); { // of equal keys the last one counts
			case isKey(key, keyPlaceholder):
				is = string(value) == "true"
			case isKey(key, keyNum):
				num = attachmentNumber(value)
			}
		}
	}
	o.i++
	attachment := noAttachment
	if is {
		attachment = num
	}
	o.containers[at] = container{elements, len(o.containers) - at - 1, o.i, attachment}
}

// checkPlaceholders checks that each outermost placeholder refers to an attachment of its own.
func checkPlaceholders(containers []container, attachments int) error {
	var taken [parser.MaxAttachments]bool
	for i := 0; i < len(containers); i++ {
		c := containers[i]
		if c.attachment == noAttachment {
			continue
		}
		if c.attachment < 0 || c.attachment >= attachments || taken[c.attachment] {
			return errPlaceholder
		}
		taken[c.attachment] = true
		i += c.inner
	}
	return nil
}

func isKey(quoted []byte, key string) bool {
	if string(quoted[1:len(quoted)-1]) == key {
		return true
	}
	for _, c := range quoted {
		if c == '\\' {
			var unquoted string
			return json.Unmarshal(quoted, &unquoted) == nil && unquoted == key
		}
	}
	return false
}

// attachmentNumber returns the number of an attachment, or badAttachment. 1.0 and 1e0 are 1 to JSON.parse.
func attachmentNumber(literal []byte) int {
	const maxLength = 32 // a whole document may stand here; it is not copied
	if len(literal) > maxLength {
		return badAttachment
	}
	f, err := strconv.ParseFloat(string(literal), 64)
	if err != nil || f < 0 || f >= parser.MaxAttachments || f != float64(int(f)) {
		return badAttachment
	}
	return int(f)
}

// The functions below step over parts of valid JSON.

func skipSpace[T string | []byte](json T, i int) int {
	for i < len(json) && isSpace(json[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func skipString[T string | []byte](json T, i int) int {
	for i++; json[i] != '"'; i++ {
		if json[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipNumber[T string | []byte](json T, i int) int {
	for i < len(json) {
		switch c := json[i]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			i++
		default:
			return i
		}
	}
	return i
}

func trimSpace(value []byte) []byte {
	for len(value) > 0 && isSpace(value[len(value)-1]) {
		value = value[:len(value)-1]
	}
	return value
}
