// Package e2e tests the daemon as its users meet it: the real binary, with unchanged clients from npm in Node and in
// Chromium. Its tests are built with the tag e2e, and "make test" installs what they need.
package e2e
