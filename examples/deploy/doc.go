// Package deploy has no code. It is where the tests are that hold what operators copy from this folder, templates, units
// and proxy settings, against the daemon that they are for. What drives real proxies is built with the tag e2e.
package deploy
