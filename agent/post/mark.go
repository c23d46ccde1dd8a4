package post

import (
	"github.com/confab-chat/confab/stream"
)

// A mark is how far a queue was read. Beside the number it has the hash over all
// entries up to there, if that is known: a queue that was rolled back and has grown
// beyond the number since has another one.
type mark struct {
	stream.Head
	known bool // the hash; otherwise it is zero
}

// begun is the mark before the first entry.
func begun(id stream.ID) mark { return mark{stream.Genesis(id), true} }

// markAt is that after an entry of which only the number was kept.
func markAt(id stream.ID, seq uint64) mark {
	if seq == 0 {
		return begun(id)
	}
	return mark{Head: stream.Head{Seq: seq}}
}

// past returns the mark after a page that was asked for from m on. told, unless
// nil, is the queue's head as the concierge tells it: if it falls into the page and
// what was read does not lead to it, same is false. A hash that is not known, since
// entries were trimmed or only the number was kept, is taken from there.
func (m mark) past(page stream.Page, told *stream.Head) (next mark, same bool) {
	last := page.Last()
	tells := told != nil && page.After <= told.Seq && told.Seq <= last
	switch {
	case m.known && page.After == m.Seq:
		if tells && m.Follow(page.Entries[:told.Seq-page.After]).Hash != told.Hash {
			return mark{Head: stream.Head{Seq: last}}, false
		}
		return mark{m.Follow(page.Entries), true}, true
	case tells:
		return mark{told.Follow(page.Entries[told.Seq-page.After:]), true}, true
	}
	return mark{Head: stream.Head{Seq: last}}, true
}
