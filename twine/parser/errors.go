package parser

import (
	"errors"
	"fmt"
)

// Every error about a packet matches ErrMalformed with [errors.Is]; some match a second, more precise one.
var (
	// ErrMalformed is matched whenever a message received, or a packet or value to be sent, is not valid Socket.IO.
	ErrMalformed = errors.New("parser: malformed packet")

	// ErrTooManyAttachments is matched if a packet has, or announces, more than [MaxAttachments] attachments.
	ErrTooManyAttachments = fmt.Errorf("%w: more than %d attachments", ErrMalformed, MaxAttachments)

	// ErrReservedEvent is matched if the name of an event is one that has a special meaning, see [Reserved].
	ErrReservedEvent = fmt.Errorf("%w: reserved event name", ErrMalformed)

	// ErrTooDeep is matched if arrays and objects are nested more than [MaxDepth] deep.
	ErrTooDeep = fmt.Errorf("%w: nested more than %d deep", ErrMalformed, MaxDepth)
)

// What a hostile peer can provoke is allocated once, not each time.
var (
	errEmpty            = malformed("empty message")
	errUTF8             = malformed("invalid UTF-8")
	errJSON             = malformed("invalid JSON")
	errType             = malformed("unknown packet type")
	errID               = malformed("acknowledgement id out of range")
	errAckID            = malformed("acknowledgement without an id")
	errPayload          = malformed("payload missing or not of the packet's type")
	errEventName        = malformed("event name is neither a string nor a number")
	errNamespace        = malformed("namespace does not start with a slash, or contains a comma")
	errAttachmentCount  = malformed("illegal number of attachments")
	errAttachmentType   = malformed("attachments on a packet that is no event or acknowledgement")
	errUnexpectedText   = malformed("text message while attachments are outstanding")
	errUnexpectedBinary = malformed("binary message while no attachment is outstanding")
	errPlaceholder      = malformed("placeholder refers to no attachment, or to one that is taken")
)

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }
