from django.urls import include, path

from console.views import accounts, home, keys, models, overview, people, prices, usage, usage_request

app_name = "console"
urlpatterns = [
    path("", home.home, name="home"),
    path("api/v1/", include("console.api.urls")),
    path("console/", overview.overview, name="overview"),
    path("console/keys/", keys.key_list, name="keys"),
    path("console/keys/mint/", keys.mint, name="mint"),
    path("console/keys/<int:key_id>/revoke/", keys.revoke, name="revoke"),
    path("console/usage/", usage.usage, name="usage"),
    path("console/usage.csv", usage.usage_csv, name="usage_csv"),
    path("console/usage/requests/<str:request_id>/", usage_request.usage_request, name="usage_request"),
    path("console/models/", models.model_list, name="models"),
    path("console/models/live/", models.model_cards, name="models_live"),
    path("console/people/", people.people, name="people"),
    path("console/people/invite/", people.invite, name="invite"),
    path("console/people/invitations/<int:invitation_id>/withdraw/", people.withdraw, name="withdraw"),
    path("console/prices/", prices.price_list, name="prices"),
    path("console/prices/set/", prices.set_price, name="set_price"),
    # These come before allauth's own in config/urls.py, and add limits and rules to them.
    path("accounts/login/", accounts.login, name="login"),
    path("accounts/signup/", accounts.signup, name="signup"),
    path("accounts/password/reset/", accounts.password_reset, name="password_reset"),
    path("accounts/password/reset/done/", accounts.password_reset_done, name="password_reset_done"),
    path("accounts/invitation/<str:token>/", accounts.invitation, name="invitation"),
]
