package statetree

// PagesIn returns the number of pages that a tree in memory keeps.
func PagesIn(m *Mem) int { return len(m.pages) }

// SetPage replaces a page behind the tree's back.
func SetPage(m *Mem, id PageID, data []byte) { m.pages[id] = data }

// PageIDs returns the ids of the pages that a tree in memory keeps.
func PageIDs(m *Mem) []PageID {
	var ids []PageID
	for id := range m.pages {
		ids = append(ids, id)
	}
	return ids
}
