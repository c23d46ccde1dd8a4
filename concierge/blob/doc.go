// Package blob keeps content under its id in a folder, for as long as somebody
// pins it.
//
//	folder/incoming/ID.OWNER   what has come of an upload
//	folder/9f/9fc0…            content, then its leaves: one file, whole or not there
//	folder/9f/9fc0….OWNER      an empty file: this owner pins it
//	folder/9f/lock             one change at a time to what begins with 9f
//
// What it guarantees:
//   - Content that can be read has the id that it is read under: it was hashed from
//     the disk, made durable with its leaves and then renamed into its place. What
//     a crash leaves of an upload is never read, and goes on where it stopped or is
//     swept.
//   - Content stays while an owner pins it. Whether he still does says the caller,
//     whose books count: the empty files only say whom to ask about.
//   - A disk that is nearly full takes nothing, so that what else lives on it goes
//     on.
//
// Several processes may share a folder, also over a network, if its file system has
// locks (flock; NFS has them since version 4).
//
// What it must not know: what the content is, who an owner is, what he may keep.
//
// Start at [Store].
package blob
