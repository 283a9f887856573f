package parser

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// In the JSON of a packet with attachments, an object with "_placeholder":true stands for the attachment "num". The
// rules are the reference's, but one: no two placeholders may refer to the same attachment. No encoder writes that, and
// it would let a small packet unfold into a huge value.

const (
	placeholderKey = "_placeholder"
	numKey         = "num"

	maxNumberLength = 32
)

type placeholder struct {
	start, end int // the object's place in the JSON
	num        int // -1 if it is no whole number or negative
}

// findPlaceholders returns the outermost placeholders of a valid JSON value in their order.
func findPlaceholders(data []byte) []placeholder {
	if !bytes.Contains(data, []byte(placeholderKey)) && bytes.IndexByte(data, '\\') < 0 {
		return nil
	}
	f := finder{data: data}
	f.value()
	return f.found
}

// checkPlaceholders checks the placeholders of a valid JSON value against the number of attachments, which must not
// exceed MaxAttachments. An attachment without a placeholder is allowed, as it is by the reference.
func checkPlaceholders(data []byte, attachments int) error {
	return checkFound(findPlaceholders(data), attachments)
}

func checkFound(found []placeholder, attachments int) error {
	var taken [MaxAttachments]bool
	for _, p := range found {
		if p.num < 0 || p.num >= attachments || taken[p.num] {
			return errPlaceholder
		}
		taken[p.num] = true
	}
	return nil
}

// checkJSON checks that data is one JSON value in UTF-8, within outer open arrays or objects.
func checkJSON(data []byte, outer int) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	end, err := skipValue(data, 0, outer)
	if err != nil {
		return err
	}
	if end != len(data) {
		return errJSON
	}
	return nil
}

// finder walks over valid JSON. It recurses at most MaxDepth times, because validation went before.
type finder struct {
	data  []byte
	i     int
	found []placeholder
}

func (f *finder) value() {
	f.space()
	switch f.data[f.i] {
	case '{':
		f.object()
	case '[':
		f.array()
	default:
		f.i, _ = skipScalar(f.data, f.i)
	}
	f.space()
}

func (f *finder) space() { f.i = skipSpace(f.data, f.i) }

func (f *finder) array() {
	f.i++
	f.space()
	for f.data[f.i] != ']' {
		f.value()
		if f.data[f.i] == ',' {
			f.i++
		}
	}
	f.i++
}

func (f *finder) object() {
	start, inner := f.i, len(f.found)
	is, num := false, -1
	f.i++
	f.space()
	for f.data[f.i] != '}' {
		f.space()
		keyStart := f.i
		f.i, _ = skipString(f.data, f.i)
		key := f.data[keyStart:f.i]
		f.space()
		f.i++ // the colon
		valueStart := f.i
		f.value()
		switch value := trimSpace(f.data[valueStart:f.i]); { // of equal keys the last one counts
		case isKey(key, placeholderKey):
			is = string(value) == "true"
		case isKey(key, numKey):
			num = attachmentNumber(value)
		}
		if f.data[f.i] == ',' {
			f.i++
		}
	}
	f.i++
	if is {
		f.found = append(f.found[:inner], placeholder{start, f.i, num})
	}
}

func isKey(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == key
	}
	var unquoted string
	return json.Unmarshal(quoted, &unquoted) == nil && unquoted == key
}

func attachmentNumber(raw []byte) int {
	if len(raw) == 1 && isDigit(raw[0]) {
		return int(raw[0] - '0')
	}
	if len(raw) > maxNumberLength {
		return -1 // nor is it copied, a whole document may stand here, at every depth
	}
	f, err := strconv.ParseFloat(string(raw), 64) // 1.0 and 1e0 are 1 to JSON.parse
	if err != nil || f < 0 || f >= MaxAttachments || f != float64(int(f)) {
		return -1
	}
	return int(f)
}
