package dameng

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// shown is what dmmonitor's show tells of one member (spec/dameng.md 4.7).
type shown struct {
	Instance, WStatus, InstOK, IStatus, IMode, RStat string
	NEP, NOK                                         string
	FLSN, CLSN                                       []string // of its nodes
}

// parseShow reads the output of show: by the names in the headings and by
// words; WTIME takes two words.
func parseShow(out string) ([]shown, error) {
	var all []shown
	var head []string
	for _, line := range strings.Split(out, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#"):
			head = nil
			continue
		case slices.Contains(words, "WSTATUS") && slices.Contains(words, "RSTAT"), slices.Contains(words, "INST_PORT") && slices.Contains(words, "FLSN"):
			head = words
			continue
		case head == nil:
			continue
		}
		row, ok := byHead(head, words)
		if !ok {
			head = nil
			continue
		}
		if _, isEP := row["INST_PORT"]; isEP {
			if len(all) == 0 {
				return nil, say.Errorf("dmmonitor tells of a node before its database", "dmmonitor 在数据库之前给出了节点")
			}
			addNode(all, row)
			continue
		}
		all = append(all, shown{Instance: row["INAME"], WStatus: row["WSTATUS"], InstOK: row["INST_OK"], IStatus: row["ISTATUS"],
			IMode: row["IMODE"], RStat: row["RSTAT"], NEP: row["N_EP"], NOK: row["N_OK"]})
	}
	if len(all) == 0 {
		return nil, say.Errorf("dmmonitor shows no database", "dmmonitor 未显示任何数据库")
	}
	return all, nil
}

// addNode adds the numbers of a node to its database: the one of the same mode
// that is still without that many nodes, in the order of the output.
func addNode(all []shown, row map[string]string) {
	for i := range all {
		if all[i].IMode == row["IMODE"] && (all[i].Instance == row["INAME"] || fmt.Sprint(len(all[i].FLSN)) < all[i].NEP) {
			all[i].FLSN = append(all[i].FLSN, row["FLSN"])
			all[i].CLSN = append(all[i].CLSN, row["CLSN"])
			return
		}
	}
}

func byHead(head, words []string) (map[string]string, bool) {
	row := map[string]string{}
	at := 0
	for _, h := range head {
		if at >= len(words) {
			return nil, false
		}
		row[h] = words[at]
		if at++; h == "WTIME" {
			at++
		}
	}
	return row, at <= len(words)
}

// show asks dmmonitor. A confirming monitor exists only once in a system, so a
// copy of its ini with MON_DW_CONFIRM = 0 is used, one for each who asks: steps run side by side.
func (s *site) show(ctx context.Context, who string) ([]shown, error) {
	for _, n := range s.nodes {
		if n.set["monitor_ini"] == "" {
			continue
		}
		f, err := n.config(ctx, n.set["monitor_ini"])
		if err != nil {
			return nil, err
		}
		own := n.file("dmmonitor-" + who + ".ini")
		if err := n.change(ctx, "mkdir", "-p", path.Dir(own)); err != nil {
			return nil, err
		}
		if err := host.WriteFile(ctx, n.host, own, f.Set("MON_DW_CONFIRM", "0"), 0o644); err != nil {
			return nil, err
		}
		out, err := n.run(ctx, host.Cmd{Argv: []string{n.bin("dmmonitor"), own}, Stdin: strings.NewReader("show\nexit\n"), Effect: host.ReadOnly})
		if err != nil {
			return nil, err
		}
		return parseShow(out)
	}
	return nil, errNoMonitor
}

var errNoMonitor = say.Errorf("no node has a monitor_ini", "没有节点配置 monitor_ini")

// cssRow is a node as dmcssm shows it (spec/dameng.md 4.10).
type cssRow struct{ Instance, Status, VTD, OK, Active string }

// down reports whether the row is that of a node whose whole group exited normally.
func (r cssRow) down() bool {
	return r.Status == "SHUTDOWN" && r.VTD == "SHUTDOWN" && r.OK == "OK" && r.Active == "FALSE"
}

// parseCSS reads the rows of one group. The column mode is of two words.
func parseCSS(out, group string) ([]cssRow, error) {
	var rows []cssRow
	in, table := false, false
	for _, line := range strings.Split(out, "\n") {
		switch {
		case strings.Contains(line, "group[name = "):
			in, table = strings.Contains(line, "group[name = "+group+","), false
			continue
		case strings.HasPrefix(line, "ep:"):
			table = true
			continue
		}
		words := strings.Fields(line)
		if !in || !table || len(words) < 11 {
			continue
		}
		// date time name seqno port mode(2) inst vtd ok active guid ts
		rows = append(rows, cssRow{words[2], words[7], words[8], words[9], words[10]})
	}
	if len(rows) == 0 {
		return nil, say.Errorf("dmcssm shows no group %s", "dmcssm 未显示组 %s", group)
	}
	return rows, nil
}

// cssm sends commands to dmcssm on a node that has its ini.
func (m *member) cssm(ctx context.Context, effect host.Effect, commands string) (string, error) {
	for _, n := range m.nodes {
		if ini := n.set["cssm_ini"]; ini != "" {
			return n.run(ctx, host.Cmd{Argv: []string{n.bin("dmcssm"), "INI_PATH=" + ini}, Stdin: strings.NewReader(commands + "\nexit\n"), Effect: effect, Timeout: n.stopTime()})
		}
	}
	return "", say.Errorf("%s: no node has a cssm_ini", "%s：没有节点配置 cssm_ini", m.name)
}

func (m *member) cssRows(ctx context.Context) ([]cssRow, error) {
	out, err := m.cssm(ctx, host.ReadOnly, "show")
	if err != nil {
		return nil, err
	}
	return parseCSS(out, m.first().set["db_group"])
}

// epStop ends a whole group as one: nodes that are stopped one after another
// leave the first ones marked as faulty (DM-096).
func (m *member) epStop(ctx context.Context, group string) error {
	out, err := m.cssm(ctx, host.Changes, "ep stop "+group)
	if err != nil {
		return err
	}
	if strings.Contains(out, "执行成功") || strings.Contains(out, "successfully") {
		return nil
	}
	return say.Errorf("%s: dmcssm: ep stop %s: %s", "%s：dmcssm：ep stop %s：%s", m.name, group, lastLine(out))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
