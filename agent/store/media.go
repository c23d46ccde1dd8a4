package store

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// FileState says where a file that a message refers to is. The numbers are stored.
type FileState uint8

// The states of a file.
const (
	Remote FileState = 0 // at a concierge, not here
	Here   FileState = 1 // on this device, at Path
	Gone   FileState = 2 // expired or deleted where it was
)

// String returns the state's name.
func (s FileState) String() string {
	switch s {
	case Remote:
		return "remote"
	case Here:
		return "here"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// File is a file that messages refer to, found by its root. Its key is in them.
type File struct {
	Root  [32]byte
	State FileState
	Path  string // where it is on this device
	Uses  int    // messages that refer to it
}

// SetFile records where a file is.
func (tx *Tx) SetFile(root [32]byte, state FileState, path string) error {
	if state > Gone || len(path) > maxPath || (path != "") != (state == Here) {
		return wire.Errorf(wire.Invalid, "file %x: its state and path do not fit each other", root)
	}
	return tx.exec("INSERT INTO files (root, state, path) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state, path = excluded.path", root[:], int(state), path)
}

// File returns what is known of a file. One that nothing refers to and that was
// never set is Remote with no uses.
func (tx *Tx) File(root [32]byte) (f File, err error) {
	f.Root = root
	if _, err = tx.row("SELECT state, path FROM files WHERE root = ?", []any{root[:]}, func(st *sqlite3.Stmt) {
		f.State, f.Path = FileState(st.ColumnInt(0)), st.ColumnText(1)
	}); err != nil {
		return f, err
	}
	n, err := tx.count("SELECT count(*) FROM files_of WHERE root = ?", root[:])
	f.Uses = int(n)
	return f, err
}

// Unused returns at most MaxPage files that are on this device although no
// message refers to them any more. The caller removes them and calls ForgetFile.
func (tx *Tx) Unused() (list []File, err error) {
	err = tx.rows("SELECT root, state, path FROM files f WHERE NOT EXISTS (SELECT 1 FROM files_of o WHERE o.root = f.root) ORDER BY root LIMIT ?",
		[]any{MaxPage}, func(st *sqlite3.Stmt) error {
			f := File{State: FileState(st.ColumnInt(1)), Path: st.ColumnText(2)}
			copy(f.Root[:], st.ColumnRawBlob(0))
			list = append(list, f)
			return nil
		})
	return list, err
}

// ForgetFile forgets where a file is.
func (tx *Tx) ForgetFile(root [32]byte) error {
	return tx.exec("DELETE FROM files WHERE root = ?", root[:])
}

// FilesIn returns the messages of a conversation that refer to files, the last
// first, at most limit: what a gallery shows.
func (tx *Tx) FilesIn(id message.ConversationID, limit int) (list []Message, err error) {
	conv, err := tx.conversation(id)
	if err != nil {
		return nil, err
	}
	err = tx.rows(messageColumns+"WHERE m.conversation = ? AND e.kind = ? AND m.deleted = 0 ORDER BY m.place DESC LIMIT ?",
		[]any{conv, int(message.KindFile), max(0, min(limit, MaxPage))}, func(st *sqlite3.Stmt) error {
			m, err := scanMessage(st)
			list = append(list, m)
			return err
		})
	return list, err
}
