package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test's own program be a worker too, as the tool's is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}
