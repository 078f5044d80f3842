package dameng

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// ---- stage: the new software beside the old ----

type stageMemo struct {
	Labelled bool `json:"labelled"` // the running software already told its release
}

var neededTools = []string{"dmserver", "disql", "dmrman", "dmctlcvt"}

func (k *task) newBin() string  { return k.n.home() + "/bin." + k.arg("to") }
func (k *task) oldBin() string  { return k.n.home() + "/bin." + k.arg("from") }
func (k *task) partBin() string { return k.newBin() + ".part" }

func stagePrepare(ctx context.Context, k *task) (any, error) {
	for _, dir := range []string{k.newBin(), k.oldBin()} {
		there, err := k.n.exists(ctx, dir)
		if err != nil {
			return nil, err
		}
		if there {
			return nil, problem(k.n.name, say.F("%s is there already: a remainder of another upgrade", "%s 已存在：可能是之前升级的残留", dir), say.F("look at it, and move it away if nothing needs it", "请检查，不再需要时移走"))
		}
	}
	labelled, err := k.n.exists(ctx, k.n.bin(releaseFile))
	return stageMemo{labelled}, err
}

func stageProbe(ctx context.Context, k *task) (driver.Standing, error) {
	there, err := k.n.exists(ctx, k.newBin())
	if err != nil {
		return driver.Unknown, err
	}
	if there {
		return driver.Applied, nil
	}
	part, err := k.n.exists(ctx, k.partBin())
	if err == nil && part {
		return driver.Half, nil
	}
	return standing(err, false)
}

func stageDo(ctx context.Context, k *task) error {
	n := k.n
	if there, err := n.exists(ctx, k.newBin()); err != nil || there {
		return err
	}
	sum, err := packageSum(k.arg("package"))
	if err != nil {
		return err
	}
	f, err := host.OpenFile(k.arg("package"))
	if err != nil {
		return problem(k.arg("package"), say.F("the package cannot be read", "无法读取升级包"), say.Same(err.Error()))
	}
	defer f.Close()
	pkg := n.file("package-" + k.arg("to") + ".tar.gz")
	if err := n.change(ctx, "mkdir", "-p", path.Dir(pkg)); err != nil {
		return err
	}
	err = host.Put(ctx, n.host, f, pkg, sum, func(done, total int64) {
		k.report(say.F("%d of %d bytes", "已传 %d / %d 字节", done, total))
	})
	if err != nil {
		return err
	}
	return k.unpack(ctx, pkg)
}

// packageSum is the sha256 that the file beside the package promises, or that of the package.
func packageSum(name string) (string, error) {
	if b, err := os.ReadFile(name + ".sha256"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 0 && len(f[0]) == sha256.Size*2 {
			return f[0], nil
		}
		return "", problem(name+".sha256", say.F("no sha256 in it", "其中没有 sha256"), say.Text{})
	}
	f, err := os.Open(name)
	if err != nil {
		return "", problem(name, say.F("the package cannot be read", "无法读取升级包"), say.Same(err.Error()))
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// unpack makes the new directory whole before it gets its name: the vendor's
// files, and from the old one what a package does not hold (service scripts,
// dm.key, profiles of disql).
func (k *task) unpack(ctx context.Context, pkg string) error {
	n, part := k.n, k.partBin()
	for _, argv := range [][]string{{"rm", "-rf", part}, {"mkdir", "-p", part}, {"tar", "-xzf", pkg, "-C", part}} {
		c := host.Change(argv...)
		c.Timeout = k.Step.Timeout.Std()
		if _, err := n.host.Run(ctx, c); err != nil {
			return err
		}
	}
	for _, tool := range neededTools {
		if _, err := n.host.Run(ctx, host.Read("test", "-x", part+"/bin/"+tool)); err != nil {
			return problem(n.name, say.F("the package holds no bin/%s", "升级包中没有 bin/%s", tool), say.F("make it of the directory bin of an installation", "请用安装目录的 bin 目录制作升级包"))
		}
	}
	v, err := n.installedIn(ctx, part+"/bin")
	if err != nil {
		return err
	}
	if !v.Same(k.to()) {
		return problem(n.name, say.F("the package holds %s, %s was expected", "升级包内为 %s，应为 %s", v, k.to()), say.F("give the right package, with bin/release.txt holding its ID_CODE", "请提供正确的升级包，其 bin/release.txt 写有 ID_CODE"))
	}
	if err := n.carryOver(ctx, part+"/bin"); err != nil {
		return err
	}
	if labelled, err := n.exists(ctx, n.bin(releaseFile)); err != nil {
		return err
	} else if !labelled {
		if err := host.WriteFile(ctx, n.host, n.bin(releaseFile), []byte("V"+k.arg("from")+"-Build\n"), 0o644); err != nil {
			return err
		}
	}
	if err := n.change(ctx, "mv", "-T", part+"/bin", k.newBin()); err != nil {
		return err
	}
	return n.change(ctx, "rm", "-rf", part, pkg)
}

// carryOver copies what lies in bin and not in a new directory.
func (n *node) carryOver(ctx context.Context, to string) error {
	old, err := n.list(ctx, n.home()+"/bin")
	if err != nil {
		return err
	}
	have, err := n.list(ctx, to)
	if err != nil {
		return err
	}
	for _, name := range old {
		if slices.Contains(have, name) {
			continue
		}
		if err := n.change(ctx, "cp", "-a", n.bin(name), to+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

func stageUndo(ctx context.Context, k *task) error {
	var m stageMemo
	if err := k.memo(&m); err != nil {
		return err
	}
	pkg := k.n.file("package-" + k.arg("to") + ".tar.gz")
	if err := k.n.change(ctx, "rm", "-rf", k.newBin(), k.partBin(), pkg, pkg+host.PartSuffix); err != nil {
		return err
	}
	if !m.Labelled {
		if err := k.n.change(ctx, "rm", "-f", k.n.bin(releaseFile)); err != nil {
			return err
		}
	}
	return k.bringBack(ctx)
}

// ---- switch-bin ----

func switchProbe(ctx context.Context, k *task) (driver.Standing, error) {
	bin, err1 := k.n.exists(ctx, k.n.home()+"/bin")
	staged, err2 := k.n.exists(ctx, k.newBin())
	kept, err3 := k.n.exists(ctx, k.oldBin())
	switch err := errors.Join(err1, err2, err3); {
	case err != nil:
		return driver.Unknown, err
	case bin && kept && !staged:
		return driver.Applied, nil
	case bin && staged && !kept:
		return driver.NotApplied, nil
	case !bin && (staged || kept):
		return driver.Half, nil
	}
	return driver.Unknown, nil
}

func switchDo(ctx context.Context, k *task) error {
	if err := k.moveBin(ctx, k.newBin(), k.oldBin()); err != nil {
		return err
	}
	v, err := k.n.installedIn(ctx, k.n.home()+"/bin")
	if err == nil && !v.Same(k.to()) {
		err = say.Errorf("%s: the software in place is %s, %s was expected", "%s：就位的软件为 %s，应为 %s", k.n.name, v, k.to())
	}
	return err
}

// moveBin puts in into the place of bin, which becomes out.
func (k *task) moveBin(ctx context.Context, in, out string) error {
	bin := k.n.home() + "/bin"
	waiting, err := k.n.exists(ctx, in)
	if err != nil || !waiting {
		return err
	}
	kept, err := k.n.exists(ctx, out)
	if err != nil {
		return err
	}
	if !kept {
		if pid, err := k.n.serverProcess(ctx); err != nil || pid != 0 {
			return errors.Join(err, say.Errorf("%s: the server runs; its software cannot be replaced", "%s：服务器正在运行，不能更换其软件", k.n.name))
		}
		// What the server lives on was stopped; a person, or a machine that came back,
		// may have started it since. It would go on with the release that is moved away (DM-094).
		if k.m.shared() {
			if err := sharedDown(ctx, k); err != nil {
				return err
			}
		}
		if err := k.n.change(ctx, "mv", "-T", bin, out); err != nil {
			return err
		}
	}
	return k.n.change(ctx, "mv", "-T", in, bin)
}

func switchUndo(ctx context.Context, k *task) error { return k.moveBin(ctx, k.oldBin(), k.newBin()) }

// ---- archives ----

type archivesMemo struct {
	Files map[string][]string `json:"files"` // by directory
}

func (k *task) aside(dir string) string { return dir + ".pre-" + k.arg("to") }

func archivesPrepare(ctx context.Context, k *task) (any, error) {
	m := archivesMemo{Files: map[string][]string{}}
	dirs, err := k.n.archiveDirs(ctx)
	for _, dir := range dirs {
		files, lerr := k.n.list(ctx, dir)
		err = errors.Join(err, lerr)
		m.Files[dir] = files
	}
	return m, err
}

func archivesProbe(ctx context.Context, k *task) (driver.Standing, error) {
	dirs, err := k.n.archiveDirs(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	moved, left := 0, 0
	for _, dir := range dirs {
		there, err := k.n.exists(ctx, k.aside(dir))
		if err != nil {
			return driver.Unknown, err
		}
		files, err := k.n.list(ctx, dir)
		if err != nil {
			return driver.Unknown, err
		}
		if there {
			moved++
		}
		left += len(files)
	}
	switch {
	case moved == len(dirs) && left == 0:
		return driver.Applied, nil
	case moved == 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

func archivesDo(ctx context.Context, k *task) error {
	dirs, err := k.n.archiveDirs(ctx)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := k.n.change(ctx, "mkdir", "-p", k.aside(dir)); err != nil {
			return err
		}
		if err := k.n.moveAll(ctx, dir, k.aside(dir)); err != nil {
			return err
		}
		if left, err := k.n.list(ctx, dir); err != nil || len(left) > 0 {
			return errors.Join(err, say.Errorf("%s: %d files are left in %s", "%s：%[3]s 中还剩 %[2]d 个文件", k.n.name, len(left), dir))
		}
	}
	return nil
}

// moveAll moves the files of one directory into another, some at a time.
func (n *node) moveAll(ctx context.Context, from, to string, only ...string) error {
	files, err := n.list(ctx, from)
	if err != nil {
		return err
	}
	if len(only) > 0 {
		files = slices.DeleteFunc(files, func(f string) bool { return !slices.Contains(only, f) })
	}
	for chunk := range slices.Chunk(files, 50) {
		argv := []string{"mv"}
		for _, f := range chunk {
			argv = append(argv, from+"/"+f)
		}
		if err := n.change(ctx, append(argv, to+"/")...); err != nil {
			return err
		}
	}
	return nil
}

// noOldArchives sees before the first start with the new software that nobody
// has laid an archive back: old and new ones in one directory look like a broken
// chain to whoever returns later (DM-023).
func (k *task) noOldArchives(ctx context.Context) error {
	if !DutiesOf(k.s.topology, strings.Split(k.arg("epochs"), ",")).MoveArchives {
		return nil
	}
	if begun, err := k.m.first().exists(ctx, k.mark()); err != nil || begun {
		return err
	}
	for _, n := range k.m.nodes {
		dirs, err := n.archiveDirs(ctx)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			files, err := n.list(ctx, dir)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				return problem(n.name, say.F("old archives lie in %s again: %s (DM-023)", "%s 中又出现旧归档：%s（DM-023）", dir, strings.Join(files, " ")),
					say.F("move them to %s, then shiplift resume", "请移到 %s，然后 shiplift resume", k.aside(dir)))
			}
		}
	}
	return nil
}

// archivesUndo brings the old archives back. What the new software wrote in the
// meantime must not lie among them: the chain would look broken (DM-023).
func archivesUndo(ctx context.Context, k *task) error {
	var m archivesMemo
	if err := k.memo(&m); err != nil {
		return err
	}
	for dir, old := range m.Files {
		aside := k.aside(dir)
		there, err := k.n.exists(ctx, aside)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		now, err := k.n.list(ctx, dir)
		if err != nil {
			return err
		}
		fresh := slices.DeleteFunc(now, func(f string) bool { return slices.Contains(old, f) })
		if len(fresh) > 0 {
			strange := dir + ".of-" + k.arg("to")
			if err := k.n.change(ctx, "mkdir", "-p", strange); err != nil {
				return err
			}
			if err := k.n.moveAll(ctx, dir, strange, fresh...); err != nil {
				return err
			}
		}
		if err := k.n.moveAll(ctx, aside, dir); err != nil {
			return err
		}
		if err := k.n.change(ctx, "rmdir", aside); err != nil {
			return err
		}
	}
	return nil
}

// ---- cold copy ----

// A member whose data lies in directories is copied with them; one in ASM is
// backed up offline by dmrman of the old software.

func (k *task) coldSet() string {
	return k.n.backups() + "/cold-" + k.m.name + "-" + k.arg("from") + "-" + k.arg("to")
}

func coldOf(dir, to string) string { return dir + ".cold-" + to }

// mark says that the new software was started on a member: its cold copy has
// to be put back on the way home.
func (k *task) mark() string { return k.m.touchedMark(k.arg("to")) }

func (m *member) touchedMark(to string) string { return m.first().file("touched-" + m.name + "-" + to) }

// touched writes the mark before the first start that changes a format.
func (k *task) touched(ctx context.Context) error {
	if k.arg("epochs") == "" {
		return nil
	}
	n := k.m.first()
	if err := n.change(ctx, "mkdir", "-p", path.Dir(k.mark())); err != nil {
		return err
	}
	return host.WriteFile(ctx, n.host, k.mark(), []byte(k.arg("to")+"\n"), 0o644)
}

func coldProbe(ctx context.Context, k *task) (driver.Standing, error) {
	if k.m.shared() {
		there, err := k.n.exists(ctx, k.coldSet())
		if err != nil || !there {
			return standing(err, false)
		}
		done, err := k.n.exists(ctx, k.coldSet()+"/.checked")
		if err == nil && !done {
			return driver.Half, nil
		}
		return standing(err, done)
	}
	kept, err := k.coldKept(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	if len(kept) == 0 {
		return driver.NotApplied, nil
	}
	n := 0
	for _, p := range kept {
		cold := coldOf(p, k.arg("to"))
		there, err := k.n.exists(ctx, cold)
		if err != nil {
			return driver.Unknown, err
		}
		if there {
			n++
		}
		if part, err := k.n.exists(ctx, cold+".part"); err != nil || part {
			return driver.Half, err
		}
	}
	switch n {
	case len(kept):
		return driver.Applied, nil
	case 0:
		return driver.NotApplied, nil
	}
	return driver.Half, nil
}

// coldKept lists the files and directories of which a copy is or was to be
// made, from a list that lies beside Shiplift's own files.
func (k *task) coldKept(ctx context.Context) ([]string, error) {
	text, err := k.n.read(ctx, k.n.file("cold-"+k.arg("to")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lines(text), err
}

func coldDo(ctx context.Context, k *task) error {
	if k.m.shared() {
		return k.coldBackup(ctx)
	}
	if pid, err := k.n.serverProcess(ctx); err != nil || pid != 0 {
		return errors.Join(err, say.Errorf("%s: the server runs; a copy of its files would be worth nothing", "%s：服务器正在运行，此时复制其文件毫无价值", k.n.name))
	}
	dirs := strings.Split(k.arg("paths"), ",")
	if err := k.n.change(ctx, "mkdir", "-p", k.n.stateDir); err != nil {
		return err
	}
	if err := host.WriteFile(ctx, k.n.host, k.n.file("cold-"+k.arg("to")), []byte(strings.Join(dirs, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := k.n.copyTree(ctx, d, coldOf(d, k.arg("to"))); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies a directory so that the copy has its name only when it is whole.
func (n *node) copyTree(ctx context.Context, from, to string) error {
	if there, err := n.exists(ctx, to); err != nil || there {
		return err
	}
	for _, argv := range [][]string{{"rm", "-rf", to + ".part"}, {"cp", "-a", from, to + ".part"}, {"mv", "-T", to + ".part", to}} {
		c := host.Change(argv...)
		c.Timeout = n.backupTime()
		if _, err := n.host.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// coldBack puts the cold copy of a member in the place of its library, and does
// again what the plan had done to it since: the HUGE path. It reports whether
// there was a copy.
func (k *task) coldBack(ctx context.Context) (bool, error) {
	begun, err := k.n.exists(ctx, k.puttingBack())
	if err != nil {
		return false, err
	}
	if !begun {
		if standing, err := coldProbe(ctx, k); err != nil || standing != driver.Applied {
			return false, err
		}
		if err := k.setMark(ctx, k.n, k.puttingBack(), ""); err != nil {
			return false, err
		}
	}
	if err := k.coldIn(ctx); err != nil {
		return false, err
	}
	had, err := k.n.exists(ctx, k.ctlBackup())
	if err == nil && had {
		err = hugeDo(ctx, k)
	}
	if err != nil {
		return false, err
	}
	return true, k.n.change(ctx, "rm", "-f", k.puttingBack())
}

// coldIn replaces the library by its copy.
func (k *task) coldIn(ctx context.Context) error {
	if k.m.shared() {
		// The tools that match what runs below: dmasmsvr is of the new software by now (DM-094).
		return k.rman(ctx, "RESTORE DATABASE '%s' FROM BACKUPSET '"+k.coldSet()+"'", "RECOVER DATABASE '%s' FROM BACKUPSET '"+k.coldSet()+"'")
	}
	dirs, err := k.coldKept(ctx)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := k.n.putBack(ctx, coldOf(d, k.arg("to")), d); err != nil {
			return err
		}
	}
	if strings.HasPrefix(k.arg("runbook"), R1) { // the copy is older than this change
		return k.n.setIni(ctx, "ALTER_MODE_STATUS", "1")
	}
	return nil
}

// puttingBack is the mark that a library is being replaced by its cold copy: a
// tool that dies in the middle leaves no library at all.
func (k *task) puttingBack() string { return k.markOf(k.n, "putting-back-"+k.m.name) }

func coldUndo(ctx context.Context, k *task) error {
	touched, err := k.n.exists(ctx, k.mark())
	if err != nil {
		return err
	}
	if k.m.shared() {
		if touched {
			if err := k.rman(ctx, "RESTORE DATABASE '%s' FROM BACKUPSET '"+k.coldSet()+"'", "RECOVER DATABASE '%s' FROM BACKUPSET '"+k.coldSet()+"'"); err != nil {
				return err
			}
		}
		return k.n.change(ctx, "rm", "-rf", k.mark(), k.puttingBack(), k.coldSet())
	}
	dirs, err := k.coldKept(ctx)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		cold := coldOf(d, k.arg("to"))
		whole, err := k.n.exists(ctx, cold)
		if err != nil {
			return err
		}
		if whole && touched {
			if err := k.n.putBack(ctx, cold, d); err != nil {
				return err
			}
		}
	}
	argv := []string{"rm", "-rf", k.mark(), k.puttingBack()}
	if err := k.n.change(ctx, argv...); err != nil { // first: what is put back is not put back again
		return err
	}
	argv = []string{"rm", "-rf"}
	for _, d := range dirs {
		argv = append(argv, coldOf(d, k.arg("to")), coldOf(d, k.arg("to"))+".part")
	}
	return k.n.change(ctx, append(argv, k.n.file("cold-"+k.arg("to")))...)
}

// putBack replaces a directory by its copy. It may be cut off at any point and done again.
func (n *node) putBack(ctx context.Context, cold, dir string) error {
	for _, argv := range [][]string{{"rm", "-rf", dir}, {"cp", "-a", cold, dir}} {
		c := host.Change(argv...)
		c.Timeout = n.backupTime()
		if _, err := n.host.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (k *task) coldBackup(ctx context.Context) error {
	if err := k.n.change(ctx, "rm", "-rf", k.coldSet()); err != nil {
		return err
	}
	if err := k.n.change(ctx, "mkdir", "-p", path.Dir(k.coldSet())); err != nil {
		return err
	}
	if err := k.rman(ctx, "BACKUP DATABASE '%s' FULL TO SHIPLIFT_COLD BACKUPSET '"+k.coldSet()+"'", "CHECK BACKUPSET '"+k.coldSet()+"'"); err != nil {
		return err
	}
	return host.WriteFile(ctx, k.n.host, k.coldSet()+"/.checked", nil, 0o644)
}

// ---- ALTER_MODE_STATUS in dm.ini ----

type modeMemo struct {
	Value string `json:"value"`
}

func modePrepare(ctx context.Context, k *task) (any, error) {
	f, err := k.n.config(ctx, k.n.ini())
	if err != nil {
		return nil, err
	}
	return modeMemo{f.Get("ALTER_MODE_STATUS")}, nil
}

func modeProbe(ctx context.Context, k *task) (driver.Standing, error) {
	f, err := k.n.config(ctx, k.n.ini())
	if err != nil {
		return driver.Unknown, err
	}
	return standing(nil, f.Get("ALTER_MODE_STATUS") == k.arg("value"))
}

func modeDo(ctx context.Context, k *task) error {
	return k.n.setIni(ctx, "ALTER_MODE_STATUS", k.arg("value"))
}

func modeUndo(ctx context.Context, k *task) error {
	var m modeMemo
	if err := k.memo(&m); err != nil {
		return err
	}
	if m.Value == "" {
		m.Value = "0" // the server's default
	}
	return k.n.setIni(ctx, "ALTER_MODE_STATUS", m.Value)
}

// ---- clean-up ----

func (k *task) leftovers() []string {
	out := []string{k.n.file("marks-" + k.planTag())}
	for _, v := range strings.Split(k.arg("from"), ",") {
		out = append(out, k.n.home()+"/bin."+v)
	}
	for i, v := range strings.Split(k.arg("to"), ",") {
		from := strings.Split(k.arg("from"), ",")[i]
		set := k.n.backups() + "/cold-" + k.m.name + "-" + from + "-" + v
		out = append(out, set, k.n.file("touched-"+k.m.name+"-"+v), k.n.backups()+"/upgrade-"+v)
	}
	return out
}

func (k *task) coldLeft(ctx context.Context) ([]string, error) {
	var out []string
	for _, v := range strings.Split(k.arg("to"), ",") {
		text, err := k.n.read(ctx, k.n.file("cold-"+v))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range lines(text) {
			out = append(out, coldOf(d, v))
		}
		out = append(out, k.n.file("cold-"+v)) // last: the list is needed until then
	}
	return out, nil
}

func cleanProbe(ctx context.Context, k *task) (driver.Standing, error) {
	cold, err := k.coldLeft(ctx)
	if err != nil {
		return driver.Unknown, err
	}
	for _, f := range append(cold, k.leftovers()...) {
		if there, err := k.n.exists(ctx, f); err != nil || there {
			return standing(err, false)
		}
	}
	return driver.Applied, nil
}

func cleanUp(ctx context.Context, k *task) error {
	cold, err := k.coldLeft(ctx)
	if err != nil {
		return err
	}
	for _, f := range append(cold, k.leftovers()...) {
		c := host.Change("rm", "-rf", f)
		c.Timeout = k.n.backupTime()
		if _, err := k.n.host.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
