// Package migratenode is the Go side of twine/MIGRATING.md, so that what stands there compiles:
//
//	go test ./examples/migrate-node
package migratenode
