package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	for format, isJSON := range map[string]bool{"json": true, "auto": true, "text": false} {
		var out bytes.Buffer
		log := New(&out, format, "info")
		log.Debug("hidden")
		log.Info("shown", "port", 3005)
		if strings.Contains(out.String(), "hidden") || !strings.Contains(out.String(), "shown") {
			t.Errorf("%s: %q", format, out.String())
		}
		if json.Valid(out.Bytes()) != isJSON {
			t.Errorf("%s: %q", format, out.String())
		}
	}
}

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	New(&out, "text", "debug").Debug("shown")
	New(&out, "text", "error").Warn("hidden")
	if !strings.Contains(out.String(), "shown") || strings.Contains(out.String(), "hidden") {
		t.Errorf("%q", out.String())
	}
}
