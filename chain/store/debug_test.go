package store_test
import ("testing";"fmt";"github.com/confab-chat/confab/chain/store")
func dump(t testing.TB, s *store.Store, pre string) {
	it,_ := store.DB(s).NewIter(nil); defer it.Close()
	for ok:=it.First();ok;ok=it.Next(){ k:=fmt.Sprintf("%x",it.Key()); if len(k)>=len(pre)&&k[:len(pre)]==pre || k[:2]=="6b" { fmt.Println(k,len(it.Value())) } }
	fmt.Println(s.Heights())
}
