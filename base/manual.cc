// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/reference.h"

namespace faultline {
namespace {

// Text as roff takes it: no character of it is a command. A line is only a line here, so what comes
// first in one is guarded too.
std::string Roff(absl::string_view text) {
  std::string roff = absl::StrReplaceAll(text, {{"\\", "\\e"},
                                                {"-", "\\-"},
                                                {"~", "\\(ti"},
                                                {"^", "\\(ha"},
                                                {"`", "\\(ga"},
                                                {"'", "\\(aq"}});
  if (absl::StartsWith(roff, ".")) roff.insert(0, "\\&");
  return roff;
}

// Paragraphs are filled; lines that begin with a blank stay as they are.
std::string Prose(absl::string_view text) {
  std::string roff;
  bool kept = false;
  for (absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
    const bool keep = absl::StartsWith(line, " ");
    if (keep != kept) absl::StrAppend(&roff, keep ? ".nf\n" : ".fi\n");
    kept = keep;
    absl::StrAppend(&roff, line.empty() ? ".PP" : Roff(line), "\n");
  }
  if (kept) absl::StrAppend(&roff, ".fi\n");
  return roff;
}

std::string ValueOf(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  const std::string type = option.get_type_name();
  std::string value = option.get_positional() ? "" : absl::StrCat(" \\fI", Roff(type), "\\fR");
  if (option.get_items_expected_max() > 1) absl::StrAppend(&value, " ...");
  return value;
}

std::string Entry(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const absl::string_view name :
       absl::StrSplit(option.get_name(option.get_positional(), true), ',', absl::SkipEmpty())) {
    names.push_back(absl::StrCat("\\fB", Roff(name), "\\fR"));
  }
  std::string roff = absl::StrCat(".TP\n", absl::StrJoin(names, ", "), ValueOf(option), "\n",
                                  Prose(option.get_description()));
  if (option.get_required()) absl::StrAppend(&roff, ".br\nRequired.\n");
  if (!option.get_default_str().empty()) {
    absl::StrAppend(&roff, ".br\nDefault: ", Roff(option.get_default_str()), ".\n");
  }
  if (!option.get_envname().empty()) {
    absl::StrAppend(&roff, ".br\nEnvironment: \\fB", Roff(option.get_envname()), "\\fR.\n");
  }
  return roff;
}

// Arguments first, then the options by group, in the order of --help.
std::string Entries(const CLI::App& app) {
  std::string roff;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) absl::StrAppend(&roff, Entry(*option));
  }
  for (const std::string& group : app.get_groups()) {
    if (group.empty()) continue;
    std::string entries;
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_group() != group || option->get_positional()) continue;
      absl::StrAppend(&entries, Entry(*option));
    }
    if (entries.empty()) continue;
    if (group != "Options") absl::StrAppend(&roff, ".SS \"", Roff(group), "\"\n");
    absl::StrAppend(&roff, entries);
  }
  return roff;
}

std::string Synopsis(const CLI::App& app, absl::string_view path) {
  std::string roff = absl::StrCat("\\fB", Roff(path), "\\fR [\\fIOPTIONS\\fR]");
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const bool many = option->get_items_expected_max() > 1;
    absl::StrAppend(&roff, option->get_required() ? " \\fI" : " [\\fI",
                    Roff(option->get_name(true)), "\\fR", many ? " ..." : "",
                    option->get_required() ? "" : "]");
  }
  return absl::StrCat(roff, "\n");
}

std::vector<const CLI::App*> Subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
}

void AppendCommands(const CLI::App& app, absl::string_view path, std::string* roff) {
  for (const CLI::App* sub : Subcommands(app)) {
    const std::string name = absl::StrCat(path, " ", sub->get_name());
    if (Subcommands(*sub).empty()) {
      absl::StrAppend(roff, ".SS \"", Roff(name), "\"\n", Synopsis(*sub, name), ".PP\n",
                      Prose(sub->get_description()), Entries(*sub));
    }
    AppendCommands(*sub, name, roff);
  }
}

// The first sentence, without the program's own name in front of it.
std::string Purpose(const CLI::App& app) {
  const std::string description = app.get_description();
  absl::string_view text = description;
  absl::ConsumePrefix(&text, absl::StrCat(app.get_name(), ": "));
  text = text.substr(0, text.find('\n'));
  text = text.substr(0, text.find(". "));
  return std::string(absl::StripSuffix(text, "."));
}

std::string FileEntry(absl::string_view path, absl::string_view text) {
  return absl::StrCat(".TP\n\\fI", Roff(path), "\\fR\n", Roff(text), "\n");
}

// Where the packages put what the options name.
std::string Files(const CLI::App& app) {
  std::string roff;
  absl::string_view service = app.get_name();
  if (app.get_option_no_throw("--config") != nullptr &&
      absl::ConsumePrefix(&service, "faultline-")) {
    absl::StrAppend(&roff, FileEntry(absl::StrCat("/etc/faultline/", service, ".yaml"),
                                     "What the service is started with."));
  }
  if (app.get_option_no_throw("--tls") != nullptr) {
    absl::StrAppend(&roff, FileEntry("/etc/faultline/tls",
                                     "Certificates, ca.pem, cert.pem and key.pem, where no other "
                                     "folder is named."));
  }
  return roff.empty() ? "" : absl::StrCat(".SH FILES\n", roff);
}

std::string FooterSections(const CLI::App& app) {
  std::string status;
  std::vector<absl::string_view> notes;
  const std::string footer = app.get_footer();
  for (absl::string_view paragraph : absl::StrSplit(footer, "\n\n", absl::SkipEmpty())) {
    if (absl::ConsumePrefix(&paragraph, "Exit status: ")) {
      status = absl::StrCat(".SH EXIT STATUS\n", Prose(paragraph));
    } else {
      notes.push_back(paragraph);
    }
  }
  if (notes.empty()) return status;
  return absl::StrCat(status, ".SH NOTES\n", Prose(absl::StrJoin(notes, "\n\n")));
}

std::string SeeAlso(absl::string_view self) {
  constexpr std::array<std::pair<const char*, int>, 4> kPages{{{"faultline", 1},
                                                               {"faultline-agent", 8},
                                                               {"faultline-collector", 8},
                                                               {"faultline-injector", 8}}};
  std::vector<std::string> others;
  for (const auto& [name, section] : kPages) {
    if (name != self) others.push_back(absl::StrCat("\\fB", Roff(name), "\\fR(", section, ")"));
  }
  return absl::StrCat(".SH SEE ALSO\n", absl::StrJoin(others, ",\n"), "\n");
}

}  // namespace

std::string ManualPage(const CLI::App& app, int section) {
  const std::string& name = app.get_name();
  std::string roff = absl::StrCat(".TH \"", Roff(absl::AsciiStrToUpper(name)), "\" \"", section,
                                  "\" \"\" \"Faultline ", FAULTLINE_VERSION,
                                  "\" \"Faultline\"\n.SH NAME\n", Roff(name), " \\- ",
                                  Roff(Purpose(app)), "\n.SH SYNOPSIS\n", Synopsis(app, name));
  const bool commands = !Subcommands(app).empty();
  if (commands) absl::StrAppend(&roff, "\\fICOMMAND\\fR ...\n");
  absl::StrAppend(&roff, ".SH DESCRIPTION\n", Prose(app.get_description()), ".SH OPTIONS\n",
                  Entries(app));
  if (commands) absl::StrAppend(&roff, ".SH COMMANDS\n");
  AppendCommands(app, name, &roff);
  return absl::StrCat(roff, Files(app), FooterSections(app), SeeAlso(name));
}

void AddReference(CLI::App* app, int section) {
  const auto add = [app](const char* name, const auto& make) {
    app->add_flag_callback(
           name, [app, make] { throw CLI::CallForVersion(make(*app), 0); }, "")
        ->configurable(false)
        ->group("");
  };
  add("--man", [section](const CLI::App& of) { return ManualPage(of, section); });
  add("--completion-bash", BashCompletion);
  add("--completion-zsh", ZshCompletion);
}

}  // namespace faultline
