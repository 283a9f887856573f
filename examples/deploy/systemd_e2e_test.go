//go:build e2e

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// systemd itself reads the unit, finds nothing to complain of, and nothing that leaves it open to much.
func TestSystemdTakesTheUnit(t *testing.T) {
	text, err := os.ReadFile(unitPath)
	if err != nil {
		t.Fatal(err)
	}
	// It looks whether the program is there.
	unit := filepath.Join(t.TempDir(), "twined.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "/usr/local/bin/twined", binary, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// The threshold is a tenth of it on systemd's scale, from 0 (closed) to 10.
	if out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
