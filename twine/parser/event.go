package parser

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// Reserved reports whether an event must not have this name, because the reference gives it a meaning of its own:
// connect, connect_error, disconnect, disconnecting, newListener and removeListener.
func Reserved(event string) bool {
	switch event {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

func isReserved(event []byte) bool { return Reserved(string(event)) }

// EventName returns the name of an event from the first element of its data, see [SplitArgs]. A name may also be a
// number; its name is then what JavaScript makes of that number, so that 1 and 1.0 are both "1".
// Errors match [ErrMalformed].
func EventName(raw []byte) (string, error) {
	raw = trimSpace(raw)
	if len(raw) == 0 {
		return "", errEventName
	}
	if raw[0] == '"' {
		var name string
		if json.Unmarshal(raw, &name) != nil {
			return "", errJSON
		}
		return name, nil
	}
	if raw[0] != '-' && !isDigit(raw[0]) {
		return "", errEventName
	}
	if end, err := skipNumber(raw, 0); err != nil || end != len(raw) {
		return "", errJSON
	}
	return numberName(string(raw)), nil
}

func numberName(literal string) string {
	f, err := strconv.ParseFloat(literal, 64)
	if errors.Is(err, strconv.ErrRange) && math.IsInf(f, 0) {
		if f < 0 {
			return "-Infinity"
		}
		return "Infinity"
	}
	if f == 0 {
		return "0" // never "-0"
	}
	name, err := json.Marshal(f) // writes numbers as JavaScript does
	if err != nil {
		return literal
	}
	return string(name)
}
