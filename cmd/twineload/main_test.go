package main

import (
	"os"
	"testing"

	"github.com/twine-realtime/twine/twine/leaktest"
)

// TestMain lets the test's own program be a worker too, as the tool's is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		main()
		return
	}
	leaktest.Main(m)
}
