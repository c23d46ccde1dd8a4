package store

import (
	"context"
	"strings"
	"unicode"

	"github.com/ncruces/go-sqlite3"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// Search returns at most limit messages that contain all words of the query, the
// last one also as a beginning of a word; case and accents do not matter. With in
// only those of one conversation. The newest come first. Quotes and operators of
// query languages are words like any other.
func (s *Store) Search(ctx context.Context, query string, in *message.ConversationID, limit int) (list []Message, err error) {
	match, err := matching(query)
	if err != nil {
		return nil, err
	}
	sql := messageColumns + "WHERE m.id IN (SELECT rowid FROM search WHERE search MATCH ?) AND m.deleted = 0"
	args := []any{match}
	if in != nil {
		sql += " AND c.name = ?"
		args = append(args, in[:])
	}
	sql += " ORDER BY e.time DESC, m.place DESC LIMIT ?"
	args = append(args, max(0, min(limit, MaxPage)))
	err = s.with(ctx, func(tx *Tx) error {
		return tx.rows(sql, args, func(st *sqlite3.Stmt) error {
			m, err := scanMessage(st)
			list = append(list, m)
			return err
		})
	}, false)
	return list, err
}

// matching makes an FTS5 query of what a person typed. Each word is quoted, so
// nothing in it is syntax.
func matching(query string) (string, error) {
	if len(query) > MaxQuery {
		return "", wire.Errorf(wire.Invalid, "search: at most %d bytes can be searched for", MaxQuery)
	}
	// What no tokenizer would keep is left out: a word of it alone matches nothing.
	words := strings.FieldsFunc(query, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Co, r)
	})
	if len(words) == 0 {
		return "", wire.Errorf(wire.Invalid, "search: there is no word to search for")
	}
	if len(words) > maxWords {
		return "", wire.Errorf(wire.Invalid, "search: at most %d words can be searched for", maxWords)
	}
	return `"` + strings.Join(words, `" "`) + `"*`, nil
}
