// Package leaktest looks for goroutines that the tests of a package leave behind, when all tests are done.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test. goleak's own half a second is not enough on a busy
// machine.
const patience = 30 * time.Second

// Main is goleak.VerifyTestMain that waits longer. It runs the tests and ends the process.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(patient{m, options}, options...)
}

// patient runs tests and waits until they have left nothing behind, or for too long.
type patient struct {
	tests   goleak.TestingM
	options []goleak.Option
}

func (p patient) Run() (status int) {
	status = p.tests.Run()
	for deadline := time.Now().Add(patience); status == 0 && time.Now().Before(deadline); {
		if goleak.Find(p.options...) == nil { // which takes a while to find something
			break
		}
	}
	return status
}
