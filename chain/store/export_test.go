package store

import "github.com/cockroachdb/pebble/v2"

// ReleaseChunk is how many versions one commit looks at for released marks.
const ReleaseChunk = releaseChunk

// DB is the database of a store, to look at and to damage.
func DB(s *Store) *pebble.DB { return s.db }
