package dynamodb

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
)

// Attributes of items. None is a reserved word of DynamoDB's expressions.
const (
	attrPartition = "p" // S
	attrOffset    = "o" // B, 16 bytes: an offset, or what takes its place
	attrExpires   = "expires"
)

type item = map[string]types.AttributeValue

func partitionEveryone(ns string) string     { return "a:" + escape(ns) }
func partitionRoom(ns, room string) string   { return "r:" + escape(ns) + ":" + escape(room) }
func partitionID(ns, id string) string       { return "i:" + escape(ns) + ":" + escape(id) }
func partitionHead(ns string) string         { return "h:" + escape(ns) }
func partitionSession(pid string) string     { return "s:" + escape(pid) }
func partitionBrowser(twineID string) string { return "t:" + escape(twineID) }

const (
	partitionMeta      = "m:"
	partitionForgotten = "m:sessions"
)

// partitionPieces has the generation in it, so that what a failed append left
// behind is not taken for a piece of another entry.
func partitionPieces(ns string, o recovery.Offset, gen []byte) string {
	return "c:" + escape(ns) + ":" + o.String() + ":" + hex.EncodeToString(gen)
}

// maxName keeps partition keys, of which DynamoDB allows 2,048 bytes, well below
// that with two names in them.
const maxName = 300

// escape makes a name a part of a partition key: no two names give the same
// one, whatever bytes they have, and ordinary ones stay readable. Long ones are
// replaced by their hash.
func escape(name string) string {
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(name))
		return "%%" + hex.EncodeToString(sum[:]) // an escaped % is %25, so no other name gives this
	}
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '%' && c != ':' }
	n := 0
	for n < len(name) && plain(name[n]) {
		n++
	}
	if n == len(name) {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			const digits = "0123456789abcdef"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func keyOf(partition string, o recovery.Offset) item {
	return item{attrPartition: str(partition), attrOffset: offset(o)}
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func bin(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }
func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}
func offset(o recovery.Offset) types.AttributeValue {
	return bin(o.AppendKey(make([]byte, 0, recovery.OffsetSize)))
}

// What an attribute holds; the zero value if it is missing or of another type.

func getString(it item, name string) string {
	v, _ := it[name].(*types.AttributeValueMemberS)
	if v == nil {
		return ""
	}
	return v.Value
}

func getBytes(it item, name string) []byte {
	v, _ := it[name].(*types.AttributeValueMemberB)
	if v == nil {
		return nil
	}
	return v.Value
}

func getNumber(it item, name string) int64 {
	v, _ := it[name].(*types.AttributeValueMemberN)
	if v == nil {
		return 0
	}
	n, _ := strconv.ParseInt(v.Value, 10, 64)
	return n
}

func getOffset(it item, name string) recovery.Offset {
	o, _ := recovery.OffsetFromKey(getBytes(it, name))
	return o
}

// keyString identifies an item within the table.
func keyString(it item) string {
	return getString(it, attrPartition) + "\x00" + string(getBytes(it, attrOffset))
}

// itemSize is what DynamoDB counts an item as, or a little more.
func itemSize(it item) int {
	n := 0
	for name, v := range it {
		n += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			n += len(v.Value)
		case *types.AttributeValueMemberB:
			n += len(v.Value)
		case *types.AttributeValueMemberN:
			n += len(v.Value)/2 + 2
		}
	}
	return n
}
