package msgpack

import (
	"fmt"

	"github.com/twine-realtime/twine/twine/parser"
)

// What a hostile peer can provoke is allocated once, not each time.
var (
	errText           = malformed("text message")
	errTruncated      = malformed("message or value is cut short")
	errTrailing       = malformed("bytes behind the packet")
	errCode           = malformed("unknown MessagePack code")
	errNotMap         = malformed("packet is no map")
	errKey            = malformed("key is no string")
	errTwice          = malformed("packet has a member twice")
	errMissing        = malformed("packet lacks its type or namespace")
	errUTF8           = malformed("invalid UTF-8")
	errType           = malformed("unknown packet type")
	errNumber         = malformed("type or id is not a whole number")
	errAckID          = malformed("acknowledgement without an id")
	errNamespace      = malformed("namespace does not start with a slash, or contains a comma")
	errPayload        = malformed("payload missing or not of the packet's type")
	errEventName      = malformed("event name is neither a string nor a number")
	errTimestamp      = malformed("timestamp out of range")
	errAttachmentType = malformed("binary values in a packet that is no event or acknowledgement")
	errPlaceholder    = malformed("placeholder refers to no attachment, or to one that is taken")
)

func malformed(what string) error { return fmt.Errorf("%w: msgpack: %s", parser.ErrMalformed, what) }
