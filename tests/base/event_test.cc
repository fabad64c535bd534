// SPDX-License-Identifier: Apache-2.0
#include "base/event.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

namespace faultline {
namespace {

TEST(EventTable, RowsAreWholeAndDiffer) {
  std::set<std::string> names;
  std::set<std::string> ids;
  for (const EventKind& kind : EventKinds()) {
    EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
    EXPECT_TRUE(ids.insert(kind.id).second) << kind.name;
    // sd-id128(3): 32 characters of lower case.
    EXPECT_EQ(std::string(kind.id).size(), 32U) << kind.name;
    EXPECT_EQ(std::string(kind.id).find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_EQ(std::string(kind.name).find_first_not_of("abcdefghijklmnopqrstuvwxyz_"),
              std::string::npos);
    EXPECT_EQ(std::string(kind.meaning).back(), '.') << kind.name;
    EXPECT_STRNE(kind.program, "") << kind.name;
    EXPECT_STREQ(KindOf(kind.event).name, kind.name);
  }
}

TEST(EventTable, FieldsAreThoseThatHaveAName) {
  const std::set<std::string> known{kFaultIdField, kFaultTypeField, kCgroupField,   kReasonField,
                                    kNodeField,    kAddressField,   kSequenceField, kCountField,
                                    kPidField,     kMethodField,    kRoleField,     kPeerField};
  std::set<std::string> used;
  for (const EventKind& kind : EventKinds()) {
    const std::vector<std::string> fields = absl::StrSplit(kind.fields, ' ', absl::SkipEmpty());
    for (const std::string& field : fields) {
      EXPECT_EQ(known.count(field), 1U) << kind.name << " " << field;
      used.insert(field);
    }
  }
  EXPECT_EQ(used, known);
}

// What a fleet is searched for first.
TEST(EventTable, StartThatFailsIsAnErrorOfEveryService) {
  const EventKind& kind = KindOf(Event::kCannotStart);
  EXPECT_EQ(kind.severity, Severity::kError);
  EXPECT_STREQ(kind.program, KindOf(Event::kStopping).program);
  EXPECT_STREQ(kind.fields, kReasonField);
}

TEST(EventTable, DocumentationIsGenerated) {
  std::ifstream in("docs/events.md");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(text, EventsMarkdown()) << "run: build/faultline events-doc > docs/events.md";
}

}  // namespace
}  // namespace faultline
