package store

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Conversation is one that this person is in.
type Conversation struct {
	ID    message.ConversationID
	With  message.Party // the other one of a direct conversation, zero for others
	Title string        // may be empty
	Added uint64        // milliseconds since 1970
	Muted bool

	Unread int    // messages of others that were not read
	Clock  uint64 // the highest of all events
}

// AddConversation adds a conversation. The error is of kind Exists if it is there
// already: an invitation never replaces a conversation. One that was deleted goes on
// where it ended.
func (tx *Tx) AddConversation(c Conversation) error {
	if len(c.Title) > MaxName {
		return wire.Errorf(wire.Invalid, "conversation %v: its title is too long", c.ID)
	}
	if n, err := tx.count("SELECT count(*) FROM conversations"); err != nil {
		return err
	} else if n >= MaxConversations {
		return wire.Errorf(wire.Exhausted, "there are %d conversations, and no more fit: delete some", n)
	}
	var with any
	if c.With.Account != (namesvc.AccountID{}) {
		with = c.With.Account[:]
	}
	err := tx.exec("INSERT INTO conversations (name, account, generation, title, added, muted) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		c.ID[:], with, int(c.With.Generation), c.Title, c.Added, c.Muted)
	if err == nil && tx.changed() == 0 {
		return wire.Errorf(wire.Exists, "conversation %v is here already", c.ID)
	}
	if err != nil {
		return err
	}
	return tx.resume(c.ID)
}

// SetConversation changes a conversation's title and whether it is muted.
func (tx *Tx) SetConversation(id message.ConversationID, title string, muted bool) error {
	if len(title) > MaxName {
		return wire.Errorf(wire.Invalid, "conversation %v: its title is too long", id)
	}
	err := tx.exec("UPDATE conversations SET title = ?, muted = ? WHERE name = ?", title, muted, id[:])
	if err == nil && tx.changed() == 0 {
		return notFound("there is no conversation %v", id)
	}
	return err
}

// DeleteConversation deletes a conversation with everything in it, but for the
// number and hash of each author's last event. Whoever begins it again has the same
// conversation: without them the others would take what this device says for a
// second history, and this one would ask them for all that was deleted.
func (tx *Tx) DeleteConversation(id message.ConversationID) error {
	n, err := tx.conversation(id)
	if err != nil {
		return err
	}
	if err := tx.leave(id); err != nil {
		return err
	}
	if err := tx.Put(unseenNote(id), nil); err != nil {
		return err
	}
	// Messages first: what they cascade from would leave the index of words behind.
	if err := tx.exec("DELETE FROM messages WHERE conversation = ?", n); err != nil {
		return err
	}
	return tx.exec("DELETE FROM conversations WHERE id = ?", n)
}

// maxLeft bounds the authors whose place is kept: they fit a note.
const maxLeft = 256

func leftNote(id message.ConversationID) string { return "left/" + id.String() }

// left is how far an author had come in a conversation that was deleted.
type left struct {
	_      struct{} `cbor:",toarray"`
	Author message.Author
	Chain  []byte
}

// leave notes where the authors of a conversation are, those of this person first.
func (tx *Tx) leave(id message.ConversationID) error {
	var own, others []left
	err := tx.eachChain(id, func(a message.Author, c *message.Chain) {
		switch l := (left{Author: a, Chain: c.Bare().Encode()}); {
		case c.Head().Seq == 0:
		case a.Account == tx.selfAccount():
			own = append(own, l)
		default:
			others = append(others, l)
		}
	})
	list := append(own, others...)
	if err != nil || len(list) == 0 {
		return err
	}
	return tx.Put(leftNote(id), wire.Encode(list[:min(len(list), maxLeft)]))
}

// resume has a conversation go on where one that was deleted ended.
func (tx *Tx) resume(id message.ConversationID) error {
	b, err := tx.Get(leftNote(id))
	if wire.CodeOf(err) == wire.NotFound {
		return nil
	}
	var list []left
	if err == nil {
		err = wire.Recall(b, &list)
	}
	if err != nil {
		return err
	}
	conv, err := tx.conversation(id)
	if err != nil {
		return err
	}
	for _, l := range list {
		author, err := tx.author(l.Author)
		if err != nil {
			return err
		}
		c, err := message.DecodeChain(l.Chain)
		if err != nil {
			return wire.Errorf(wire.Invalid, "database: it is damaged: %w", err)
		}
		if err := tx.saveChain(conv, author, c); err != nil {
			return err
		}
		if err := tx.exec("UPDATE conversations SET clock = max(clock, ?) WHERE id = ?", c.Head().Clock, conv); err != nil {
			return err
		}
	}
	return tx.Put(leftNote(id), nil)
}

const conversationColumns = `SELECT name, account, generation, title, added, muted, clock,
	(SELECT count(*) FROM messages m WHERE m.conversation = c.id AND m.unread = 1) FROM conversations c `

func scanConversation(st *sqlite3.Stmt) (c Conversation) {
	copy(c.ID[:], st.ColumnRawBlob(0))
	c.With = message.Party{Account: scanAccount(st, 1), Generation: uint32(st.ColumnInt64(2))}
	c.Title, c.Added, c.Muted = st.ColumnText(3), uint64(st.ColumnInt64(4)), st.ColumnBool(5)
	c.Clock, c.Unread = uint64(st.ColumnInt64(6)), st.ColumnInt(7)
	return c
}

// Conversation returns a conversation.
func (tx *Tx) Conversation(id message.ConversationID) (c Conversation, err error) {
	found, err := tx.row(conversationColumns+"WHERE name = ?", []any{id[:]}, func(st *sqlite3.Stmt) { c = scanConversation(st) })
	if err == nil && !found {
		return c, notFound("there is no conversation %v", id)
	}
	return c, err
}

// Conversations returns all conversations, in the order in which they were added.
func (tx *Tx) Conversations() (list []Conversation, err error) {
	err = tx.rows(conversationColumns+"ORDER BY added, id", nil, func(st *sqlite3.Stmt) error {
		list = append(list, scanConversation(st))
		return nil
	})
	return list, err
}

// conversation returns a conversation's number.
func (tx *Tx) conversation(id message.ConversationID) (n int64, err error) {
	found, err := tx.row("SELECT id FROM conversations WHERE name = ?", []any{id[:]}, func(st *sqlite3.Stmt) { n = st.ColumnInt64(0) })
	if err == nil && !found {
		return 0, notFound("there is no conversation %v", id)
	}
	return n, err
}
